//! Accounts: opened with the first order, and told of what changes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instant_acme::{AccountCredentials, ExternalAccountKey, NewAccount};
use routing_rules::rules::{AcmeAccount, ExternalAccount, Pem};

use super::Acme;
use super::caller::Caller;
use super::kept::Account;
use super::order::Failed;
use crate::control_path::https;

impl Acme {
    /// What calls its authority.
    pub(super) fn caller(&self, account: &AcmeAccount) -> Result<Caller, String> {
        let wrong = |reason| format!("`ca` of account `{}`: {reason}", account.name());
        let roots = match account.authorities() {
            None => https::roots(None),
            Some(Pem::File(path)) => https::roots(Some(&self.folder.join(&**path))),
            Some(Pem::Text(text)) => https::roots_of_text(text.as_bytes()),
        };
        Caller::new(roots.map_err(wrong)?)
    }

    /// The account, which is opened if need be.
    pub(super) async fn account(&self, rules: &AcmeAccount, caller: &Caller) -> Result<instant_acme::Account, Failed> {
        let _opening = self.opening.lock().await;
        let builder = instant_acme::Account::builder_with_http(Box::new(caller.clone()));
        let contact: Vec<String> = rules.contact().iter().map(|address| format!("mailto:{address}")).collect();
        let told: Vec<&str> = contact.iter().map(String::as_str).collect();
        let key_id = rules.external().map(|external| external.key_id.to_string());
        let name = rules.name().as_str();
        // What is kept may be damaged, and is for the protocol's client as it says.
        let is_of_it = |it: &Account| {
            let directory = it.credentials.get("directory").and_then(|directory| directory.as_str());
            it.directory == rules.directory() && directory == Some(rules.directory()) && it.key_id == key_id
        };
        let known = self.vault.account(name).filter(is_of_it);
        if let Some(known) = known
            && let Ok(credentials) = serde_json::from_value::<AccountCredentials>(known.credentials.clone())
        {
            let account = builder.from_credentials(credentials).await?;
            if known.contact != contact {
                account.update_contacts(&told).await?;
                self.vault.keep_account(name, Some(Account { contact, ..known })).await.map_err(Failed::new)?;
            }
            return Ok(account);
        }
        let external = rules.external().map(|external| self.external_key(external)).transpose();
        let external =
            external.map_err(|reason| Failed::new(format!("`external_account` of account `{name}`: {reason}")))?;
        // The rules say so, or there would be no account.
        let new = NewAccount { contact: &told, terms_of_service_agreed: true, only_return_existing: false };
        let created = builder.create(&new, rules.directory().to_owned(), external.as_ref()).await;
        let (account, credentials) = created?;
        let credentials = serde_json::to_value(&credentials).map_err(|error| Failed::new(error.to_string()))?;
        let kept = Account { directory: rules.directory().to_owned(), key_id, contact, credentials };
        self.vault.keep_account(name, Some(kept)).await.map_err(Failed::new)?;
        tracing::info!(account = name, directory = rules.directory(), "opened an account at an authority");
        Ok(account)
    }

    /// Forgets an account that its authority does not know, unless another one was opened meanwhile.
    pub(super) async fn forget_account(&self, name: &str, used: Option<&Account>) -> Result<(), String> {
        let _opening = self.opening.lock().await;
        let kept = self.vault.account(name);
        if kept.is_some() && kept.map(|it| it.credentials) == used.map(|it| it.credentials.clone()) {
            tracing::warn!(account = name, "the authority does not know the account; opening another");
            self.vault.keep_account(name, None).await?;
        }
        Ok(())
    }

    fn external_key(&self, external: &ExternalAccount) -> Result<ExternalAccountKey, String> {
        let text = match &external.key {
            Pem::Text(text) => text.to_string(),
            Pem::File(path) => std::fs::read_to_string(self.folder.join(&**path))
                .map_err(|error| format!("key_file: {}: {error}", self.folder.join(&**path).display()))?,
        };
        let digits = text.trim().trim_end_matches('=').replace('+', "-").replace('/', "_");
        let key = URL_SAFE_NO_PAD.decode(digits).map_err(|_| "the key is not base64url")?;
        Ok(ExternalAccountKey::new(external.key_id.to_string(), &key))
    }
}
