//! The way to the API server.

use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::Options;

/// Why there is no way to the API server.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A file that was named cannot be used.
    #[error("{0}: {1}")]
    File(String, kube::config::KubeconfigError),
    /// There is neither a service account nor a kubeconfig.
    #[error("neither a service account nor a kubeconfig says where the API server is: {0}")]
    Nowhere(kube::config::InferConfigError),
    /// What they say cannot be used.
    #[error("{0}")]
    Unusable(kube::Error),
}

/// For watches, which are silent for as long as nothing happens.
pub(crate) async fn client(options: &Options) -> Result<Client, ClientError> {
    let mut config = config(options).await?;
    config.connect_timeout = Some(CONNECT);
    Client::try_from(config).map_err(ClientError::Unusable)
}

/// For whoever must know soon that there is no answer.
pub(crate) async fn impatient(options: &Options, patience: Duration) -> Result<Client, ClientError> {
    let mut config = config(options).await?;
    (config.connect_timeout, config.read_timeout) = (Some(patience), Some(patience));
    Client::try_from(config).map_err(ClientError::Unusable)
}

/// As the options say; else as the service account of the pod, or the environment of whoever started the process.
async fn config(options: &Options) -> Result<Config, ClientError> {
    let Some(path) = &options.kubeconfig else {
        return Config::infer().await.map_err(ClientError::Nowhere);
    };
    let wrong = |error| ClientError::File(path.display().to_string(), error);
    let file = Kubeconfig::read_from(path).map_err(wrong)?;
    let context = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(file, &context).await.map_err(wrong)
}

const CONNECT: Duration = Duration::from_secs(5);
