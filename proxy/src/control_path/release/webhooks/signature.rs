//! Signatures as the Standard Webhooks specification has them: HMAC-SHA256 over the message's id, the time of the call and the body.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The keys of one receiver. They are not shown, not even for debugging.
pub(super) struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    /// Reads a file: one key a line, of which a receiver needs to know one. So a key can be exchanged without losing a message.
    ///
    /// # Errors
    /// It cannot be read, or a line is no key; says which, and not what is in it.
    pub(super) async fn read(path: &Path) -> Result<Self, String> {
        let text = tokio::fs::read(path).await.map_err(|error| format!("{}: {error}", path.display()))?;
        let text = String::from_utf8(text).map_err(|_| format!("{}: it is not text", path.display()))?;
        Self::parse(&text).map_err(|reason| format!("{}: {reason}", path.display()))
    }

    /// The same at a time when there is nothing else to do.
    ///
    /// # Errors
    /// As those of [`Self::read`].
    pub(super) fn read_now(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(&text).map_err(|reason| format!("{}: {reason}", path.display()))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let keys: Vec<Vec<u8>> = lines.map(|(index, line)| key(index + 1, line.trim())).collect::<Result<_, _>>()?;
        match keys.len() {
            1..=MOST_KEYS => Ok(Self(keys)),
            0 => Err("there is no key in it".to_owned()),
            many => Err(format!("there are {many} keys in it, at most {MOST_KEYS} are taken")),
        }
    }

    /// The value of `webhook-signature`: one signature for each key.
    pub(super) fn sign(&self, id: &str, at_s: u64, body: &[u8]) -> String {
        let sign = |key: &Vec<u8>| {
            let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
            mac.update(format!("{id}.{at_s}.").as_bytes());
            mac.update(body);
            format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
        };
        self.0.iter().map(sign).collect::<Vec<_>>().join(" ")
    }
}

fn key(line: usize, text: &str) -> Result<Vec<u8>, String> {
    let encoded = text.strip_prefix("whsec_").unwrap_or(text);
    let key = STANDARD_NO_PAD.decode(encoded.trim_end_matches('='));
    let key = key.map_err(|_| format!("line {line} is not `whsec_` and base64"))?;
    match key.len() {
        24..=64 => Ok(key),
        length => Err(format!("the key in line {line} has {length} bytes; it is 24 to 64 long")),
    }
}

/// While one is exchanged, there are two.
const MOST_KEYS: usize = 4;

#[cfg(test)]
mod tests {
    use super::Secrets;

    /// The example of the specification; the signature is what its library for Python says.
    #[test]
    fn a_signature_is_what_others_make_of_it() {
        let secrets = Secrets::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let signature = secrets.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let two = Secrets::parse("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n\nwhsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n");
        let both = two.unwrap().sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert!(both.starts_with(&format!("{signature} v1,")) && both.len() == 2 * signature.len() + 1, "{both}");
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_told() {
        for (text, reason) in [
            ("", "there is no key"),
            ("whsec_MfKQ9r8GKYqrTwjU", "the key in line 1 has 12 bytes; it is 24 to 64 long"),
            ("\nnot a secret!", "line 2 is not `whsec_` and base64"),
            (&"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n".repeat(5), "there are 5 keys"),
        ] {
            let said = Secrets::parse(text).err().unwrap();
            assert!(said.starts_with(reason) && !said.contains("MfKQ") && !said.contains("secret!"), "{said}");
        }
    }
}
