//! One request at the edge of its route: what is known of it there, and what its answer is given on the way out.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use http::Response;
use http::header::{self, HeaderMap, HeaderValue};
use http::response::Parts;
use routing_rules::request::RequestView;
use routing_rules::rules::{BasicAuth, Coding, Cors, Credentials};

use super::question::{Granted, Verdict};
use super::{Compressed, Obstacle, Passwords, Question, Verification};
use crate::data_path::error::RequestError;
use crate::data_path::headers;
use crate::data_path::request::Exchange;
use crate::data_path::response::ResponseBody;
use crate::snapshot::{Met, RouteEdge};
use crate::worker::Worker;

/// Kept while the request is under way.
pub(crate) struct Visit {
    edge: Arc<RouteEdge>,
    is_secure: bool,
    origin: Option<HeaderValue>,
    is_preflight: bool,
    coding: Option<Coding>,
    /// The tags of the copies that the client has, where answers are compressed.
    held: Option<HeaderValue>,
    user: RefCell<Option<HeaderValue>>,
    granted: RefCell<Granted>,
}

impl Visit {
    pub(crate) fn begin(edge: &Arc<RouteEdge>, request: &RequestView<'_>, is_secure: bool) -> Self {
        let rules = edge.rules();
        let compress = rules.compress.as_ref();
        Self {
            edge: Arc::clone(edge),
            is_secure,
            origin: rules.cors.as_ref().and_then(|_| Cors::origin(request.headers).cloned()),
            is_preflight: rules.cors.is_some() && Cors::is_preflight(request),
            coding: compress.and_then(|compress| compress.coding_for(request.method, request.headers)),
            held: compress.and_then(|_| request.headers.get(header::IF_NONE_MATCH).cloned()),
            user: RefCell::default(),
            granted: RefCell::default(),
        }
    }

    /// What stands in the way, if anything does; it is counted.
    pub(crate) fn obstacle(&self, request: &RequestView<'_>) -> Option<Obstacle> {
        let obstacle = super::obstacle(self.edge.rules(), request, self.is_secure)?;
        self.edge.count(match obstacle {
            Obstacle::Address => Met::Address,
            Obstacle::HttpsRedirect => Met::HttpsRedirect,
            Obstacle::Preflight(true) => Met::Preflight,
            Obstacle::Preflight(false) => Met::PreflightRefused,
        });
        Some(obstacle)
    }

    pub(crate) fn edge(&self) -> &RouteEdge {
        &self.edge
    }

    /// Asks for the password, if the route does. What has to be looked at closely takes its time, and is returned.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn ask_password(
        &self,
        passwords: &Arc<Passwords>,
        request: &RequestView<'_>,
        now_us: u64,
    ) -> Result<Option<Verification>, RequestError> {
        let Some(auth) = &self.edge.rules().basic_auth else { return Ok(None) };
        let Some(credentials) = Credentials::of(request.headers) else {
            self.edge.count(Met::NoPassword);
            return Err(RequestError::Unauthorized);
        };
        match passwords.check(&self.edge, auth, credentials, request.client, now_us) {
            Ok(credentials) => {
                self.set_user(&credentials);
                Ok(None)
            }
            Err(verification) => Ok(Some(*verification)),
        }
    }

    /// Looks at the password.
    ///
    /// # Errors
    /// It is wrong, its client tries too many, or too many wait to be looked at.
    pub(crate) async fn verify(&self, verification: Verification) -> Result<(), RequestError> {
        match verification.run().await {
            Ok(credentials) => {
                self.set_user(&credentials);
                Ok(())
            }
            Err(error) => {
                self.edge.count(match error {
                    RequestError::PasswordsBusy => Met::Busy,
                    RequestError::TooManyAttempts(_) => Met::Attempts,
                    _ => Met::WrongPassword,
                });
                Err(error)
            }
        }
    }

    fn set_user(&self, credentials: &Credentials) {
        // Names in rules are visible ASCII, and this one is among them.
        *self.user.borrow_mut() = HeaderValue::from_str(credentials.user()).ok();
    }

    /// Asks the service of the route. Returns what the client gets if it may not pass.
    ///
    /// # Errors
    /// The service did not say, or not in time.
    pub(crate) async fn ask(
        &self,
        mut question: Question,
        exchange: &Rc<Exchange>,
    ) -> Result<Option<Response<ResponseBody>>, RequestError> {
        let Some(auth) = &self.edge.rules().forward_auth else { return Ok(None) };
        self.tell_user(question.fields());
        let asked = exchange.unless_expired(pin!(question.ask(auth, exchange))).await;
        let reason = match asked {
            Ok(Ok(Verdict::Pass(granted))) => {
                *self.granted.borrow_mut() = granted;
                return Ok(None);
            }
            Ok(Ok(Verdict::Deny(answer))) => {
                self.edge.count(Met::Denied);
                return Ok(Some(answer));
            }
            Ok(Err(RequestError::NoEndpoint | RequestError::BreakerOpen(_))) => Met::AuthNoEndpoint,
            Ok(Err(RequestError::UpstreamFull | RequestError::QueueTimeout)) => Met::AuthFull,
            Ok(Err(RequestError::ConnectTimeout | RequestError::ResponseTimeout)) => Met::AuthTimeout,
            Err(expired) => {
                self.edge.count(Met::AuthTimeout);
                return Err(expired);
            }
            Ok(Err(_)) => Met::AuthFailed,
        };
        self.edge.count(reason);
        Err(RequestError::AuthUnavailable)
    }

    /// Puts what the service says of who sends a request in the place of what the client says.
    pub(crate) fn replace_claims(&self, fields: &mut HeaderMap) {
        let Some(auth) = &self.edge.rules().forward_auth else { return };
        headers::remove_claims(fields, auth.response_headers());
        for (name, value) in &self.granted.borrow().fields {
            fields.append(name.clone(), value.clone());
        }
    }

    /// Gives the client the cookies of the service that let it in.
    pub(crate) fn add_cookies(&self, fields: &mut HeaderMap) {
        for cookie in &self.granted.borrow().cookies {
            fields.append(header::SET_COOKIE, cookie.clone());
        }
    }

    /// Tells the endpoint who was let in, and not by which password.
    pub(crate) fn rewrite_request(&self, fields: &mut HeaderMap) {
        self.tell_user(fields);
        self.replace_claims(fields);
    }

    fn tell_user(&self, fields: &mut HeaderMap) {
        let Some(auth) = &self.edge.rules().basic_auth else { return };
        if !auth.keeps_authorization() {
            fields.remove(header::AUTHORIZATION);
        }
        if let Some(user) = self.user.borrow().clone() {
            fields.insert(headers::X_SERIN_USER, user);
        }
    }

    /// Tells the client what the filters have to say beside an answer.
    pub(crate) fn rewrite_answer(&self, error: Option<RequestError>, request_id: HeaderValue, fields: &mut HeaderMap) {
        self.add_cookies(fields);
        let rules = self.edge.rules();
        let challenge = rules.basic_auth.as_ref().map(BasicAuth::challenge);
        if let Some(challenge) = challenge.filter(|_| error == Some(RequestError::Unauthorized)) {
            fields.insert(header::WWW_AUTHENTICATE, challenge.clone());
        }
        if let Some(hsts) = rules.hsts.as_ref().filter(|_| self.is_secure) {
            fields.insert(header::STRICT_TRANSPORT_SECURITY, hsts.value().clone());
        }
        if let Some(security_headers) = &rules.security_headers {
            security_headers.add_to(fields);
        }
        if rules.expose_request_id {
            fields.insert(headers::X_REQUEST_ID, request_id);
        }
        if let Some(cors) = &rules.cors {
            cors.apply(self.origin.as_ref(), self.is_preflight, fields);
            headers::vary_by(fields, &header::ORIGIN);
        }
    }

    /// Rewrites the head of an answer that is to be compressed. Returns who compresses the body, if there is one.
    pub(crate) fn compress(
        &self,
        parts: &mut Parts,
        has_body: bool,
        is_head: bool,
        worker: &Worker,
    ) -> Option<Box<Compressed>> {
        let compress = self.edge.rules().compress.as_ref()?;
        if parts.status == http::StatusCode::NOT_MODIFIED {
            headers::vary_by(&mut parts.headers, &header::ACCEPT_ENCODING);
            self.name_copy(&mut parts.headers);
            return None;
        }
        let gets_cookie = !self.granted.borrow().cookies.is_empty();
        if gets_cookie && !compress.takes_credentials() {
            return None;
        }
        if !(has_body || is_head) || !compress.fits(parts.status, &parts.headers) {
            return None;
        }
        headers::vary_by(&mut parts.headers, &header::ACCEPT_ENCODING);
        let coding = self.coding?;
        let compressed = match has_body {
            true => {
                let compressed = Compressed::new(coding, length_of(&parts.headers), &worker.encoder_memory);
                if compressed.is_none() {
                    worker.counters.not_compressed();
                }
                Some(Box::new(compressed?))
            }
            false => None,
        };
        become_encoded(&mut parts.headers, coding);
        if has_body {
            self.edge.count(Met::Compressed(coding));
        }
        compressed
    }

    /// Has an answer without content name the copy that the client has as it was given (RFC 9110 §15.4.5): with a tag made weak, if it
    /// was compressed.
    fn name_copy(&self, fields: &mut HeaderMap) {
        let weak = fields.get(header::ETAG).and_then(weakened);
        let held = self.held.as_ref().map_or(&[][..], HeaderValue::as_bytes);
        if let Some(weak) = weak.filter(|weak| held.windows(weak.len()).any(|tag| tag == weak.as_bytes())) {
            fields.insert(header::ETAG, weak);
        }
    }
}

fn length_of(fields: &HeaderMap) -> Option<u64> {
    fields.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A head speaks of the content as it is sent (RFC 9110 §8.8.1): a strong tag, a length, a digest or ranges would be of another one.
fn become_encoded(fields: &mut HeaderMap, coding: Coding) {
    fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.token()));
    fields.remove(header::CONTENT_LENGTH);
    fields.remove(header::ACCEPT_RANGES);
    for digest in ["content-md5", "content-digest", "repr-digest", "digest"] {
        fields.remove(digest);
    }
    if let Some(weak) = fields.get(header::ETAG).and_then(weakened) {
        fields.insert(header::ETAG, weak);
    }
}

/// A strong tag as a weak one.
fn weakened(tag: &HeaderValue) -> Option<HeaderValue> {
    let is_strong = tag.as_bytes().first() == Some(&b'"');
    is_strong.then(|| HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok()).flatten()
}
