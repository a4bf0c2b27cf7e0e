//! Which passwords are being looked at, and who waits for that.
//!
//! Invariant: nobody looks at a password while another looks at the same one for the same client; who comes meanwhile waits for what
//! the first one finds. So many looks wait, fewer of one route and few of one client: neither keeps all others out.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use routing_rules::rules::Name;
use tokio::sync::watch;

use crate::data_path::error::RequestError;

/// A password of a client, with the stored hash that it is compared with.
pub(super) type Digest = [u8; 32];

/// What is looked at, and for whom.
#[derive(Clone)]
pub(super) struct Subject {
    pub(super) digest: Digest,
    /// The network of the client.
    pub(super) client: IpAddr,
    pub(super) route: Name,
}

/// All looks.
#[derive(Default)]
pub(super) struct Looks(Mutex<State>);

#[derive(Default)]
struct State {
    under_way: HashMap<Digest, watch::Receiver<Option<bool>>>,
    waiting: usize,
    waiting_of_clients: HashMap<IpAddr, usize>,
    waiting_of_routes: HashMap<Name, usize>,
}

/// How to learn about a password.
pub(super) enum Begun {
    /// By looking.
    Own(Look),
    /// From who looks at it already.
    Others(watch::Receiver<Option<bool>>),
}

/// A look that waits or goes on. Dropped without a word, it leaves the password to the next one.
pub(super) struct Look {
    looks: Arc<Looks>,
    subject: Subject,
    waits: bool,
    tell: watch::Sender<Option<bool>>,
}

impl Looks {
    /// A look at a password, or a way to hear of the one under way.
    ///
    /// # Errors
    /// Too many wait.
    pub(super) fn begin(self: &Arc<Self>, subject: &Subject) -> Result<Begun, RequestError> {
        let mut state = self.state();
        if let Some(others) = state.under_way.get(&subject.digest) {
            return Ok(Begun::Others(others.clone()));
        }
        state.join(subject)?;
        let (tell, told) = watch::channel(None);
        state.under_way.insert(subject.digest, told);
        Ok(Begun::Own(Look { looks: Arc::clone(self), subject: subject.clone(), waits: true, tell }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn join(&mut self, Subject { client, route, .. }: &Subject) -> Result<(), RequestError> {
        let of_client = self.waiting_of_clients.get(client).copied().unwrap_or(0);
        let of_route = self.waiting_of_routes.get(route).copied().unwrap_or(0);
        if self.waiting >= MOST_WAITING || of_client >= MOST_OF_CLIENT || of_route >= MOST_OF_ROUTE {
            return Err(RequestError::PasswordsBusy);
        }
        self.waiting += 1;
        self.waiting_of_clients.insert(*client, of_client + 1);
        self.waiting_of_routes.insert(route.clone(), of_route + 1);
        Ok(())
    }

    fn leave(&mut self, Subject { client, route, .. }: &Subject) {
        self.waiting -= 1;
        decrease(&mut self.waiting_of_clients, client);
        decrease(&mut self.waiting_of_routes, route);
    }
}

fn decrease<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    let Some(count) = counts.get_mut(key) else { return };
    *count -= 1;
    if *count == 0 {
        counts.remove(key);
    }
}

impl Look {
    /// It waits no longer, and its place is free.
    pub(super) fn goes_on(&mut self) {
        if std::mem::take(&mut self.waits) {
            self.looks.state().leave(&self.subject);
        }
    }

    /// Tells everybody who waits for it.
    pub(super) fn tell(self, is_right: bool) {
        self.tell.send_replace(Some(is_right));
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        self.goes_on();
        self.looks.state().under_way.remove(&self.subject.digest);
    }
}

/// What another look finds. `None` if it was given up.
pub(super) async fn heard(mut others: watch::Receiver<Option<bool>>) -> Option<bool> {
    others.wait_for(Option::is_some).await.ok().and_then(|found| *found)
}

/// Looks that wait; at a quarter of a second each, the last one waits about as long as a browser does.
const MOST_WAITING: usize = 64;

/// Of one route: one whose passwords are being guessed leaves half of the places to the others.
const MOST_OF_ROUTE: usize = MOST_WAITING / 2;

/// Of one client, which may be an office whose people all come at once.
const MOST_OF_CLIENT: usize = MOST_WAITING / 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(number: u16, client: u8, route: &str) -> Subject {
        let mut digest = [0; 32];
        digest[..2].copy_from_slice(&number.to_le_bytes());
        Subject { digest, client: [192, 0, 2, client].into(), route: Name::new(route).expect("a name") }
    }

    fn own(begun: Result<Begun, RequestError>) -> Look {
        match begun {
            Ok(Begun::Own(look)) => look,
            Ok(Begun::Others(_)) => panic!("another one looks"),
            Err(error) => panic!("{error:?}"),
        }
    }

    #[test]
    fn neither_a_client_nor_a_route_takes_all_places() {
        let looks = Arc::<Looks>::default();
        let number = std::cell::Cell::new(0);
        let begin = |client, route| {
            number.set(number.get() + 1);
            looks.begin(&subject(number.get(), client, route))
        };
        let mut of_first: Vec<Look> = (0..MOST_OF_CLIENT).map(|_| own(begin(1, "a"))).collect();
        assert_eq!(begin(1, "a").err(), Some(RequestError::PasswordsBusy));
        assert_eq!(begin(1, "b").err(), Some(RequestError::PasswordsBusy), "also elsewhere");
        of_first[0].goes_on();
        of_first.push(own(begin(1, "a")));
        let of_others: Vec<Look> =
            (MOST_OF_CLIENT..MOST_OF_ROUTE).map(|client| own(begin(client as u8, "a"))).collect();
        assert_eq!(begin(99, "a").err(), Some(RequestError::PasswordsBusy));
        let elsewhere: Vec<Look> =
            (MOST_OF_ROUTE..MOST_WAITING).map(|client| own(begin(100 + client as u8, "b"))).collect();
        assert_eq!(begin(99, "c").err(), Some(RequestError::PasswordsBusy));
        drop((of_first, of_others, elsewhere));
        let state = looks.state();
        assert!(state.under_way.is_empty() && state.waiting == 0);
        assert!(state.waiting_of_clients.is_empty() && state.waiting_of_routes.is_empty());
    }

    #[tokio::test]
    async fn who_comes_meanwhile_hears_of_it() {
        let looks = Arc::<Looks>::default();
        let same = subject(1, 1, "a");
        let look = own(looks.begin(&same));
        let listen = || match looks.begin(&same) {
            Ok(Begun::Others(others)) => heard(others),
            _ => panic!("one look at a time"),
        };
        let (one, two) = (listen(), listen());
        look.tell(true);
        assert_eq!((one.await, two.await), (Some(true), Some(true)));
        let look = own(looks.begin(&same));
        let given_up = listen();
        drop(look);
        assert_eq!(given_up.await, None);
    }
}
