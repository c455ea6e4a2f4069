//! Makes the client of a state location, with its short limits.

use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::{ClientOptions, ObjectStore, RetryConfig};

use crate::Limits;
use crate::location::{Kind, LocationError, StateLocation};

const S3_USUAL: &str = "endpoint, region, access_key_id, secret_access_key, session_token, allow_http, virtual_hosted_style_request";
const GCS_USUAL: &str = "service_account, service_account_key, application_credentials";
const AZURE_USUAL: &str = "account_name, access_key, client_id, client_secret, tenant_id, sas_token, endpoint, use_emulator, allow_http";

/// Options that would undo the short limits of the state client.
const LIMITS: [&str; 2] = ["timeout", "connect_timeout"];

/// Refuses options that the kind of location does not have.
pub(crate) fn check(location: &StateLocation) -> Result<(), LocationError> {
    let (usual, known): (_, fn(&str) -> bool) = match location.kind {
        Kind::Directory(_) => ("sync", |name| name == "sync"),
        Kind::Memory => ("none", |_| false),
        Kind::S3 => (S3_USUAL, |name| name.parse::<AmazonS3ConfigKey>().is_ok()),
        Kind::Gcs => (GCS_USUAL, |name| name.parse::<GoogleConfigKey>().is_ok()),
        Kind::Azure => (AZURE_USUAL, |name| name.parse::<AzureConfigKey>().is_ok()),
    };
    for option in location.options.keys() {
        if !known(option) || is_limit(option) {
            return Err(LocationError::UnknownOption {
                location: location.shown.clone(),
                option: option.clone(),
                usual,
            });
        }
    }
    let sync = location.setting(&["sync"]);
    if sync.is_some_and(|sync| !matches!(sync, "true" | "false")) {
        return Err(location.unusable("its option sync has to be true or false"));
    }
    let plain = [
        "endpoint",
        "endpoint_url",
        "aws_endpoint",
        "aws_endpoint_url",
        "aws_endpoint_url_s3",
        "azure_endpoint",
        "azure_storage_endpoint",
    ];
    let allow = ["allow_http", "aws_allow_http", "azure_allow_http"];
    let is_plain = |endpoint: &str| endpoint.starts_with("http://");
    if location.setting(&plain).is_some_and(is_plain) && location.setting(&allow).is_none() {
        return Err(location.unusable(
            "its endpoint begins with http://, which is not encrypted; set the option allow_http = \"true\" if that is meant",
        ));
    }
    Ok(())
}

fn is_limit(option: &str) -> bool {
    let bare = ["aws_", "google_", "azure_"]
        .iter()
        .find_map(|prefix| option.strip_prefix(prefix))
        .unwrap_or(option);
    LIMITS.contains(&bare)
}

/// Makes the client. Directories are created; nothing else is contacted yet.
pub(crate) fn connect(
    location: &StateLocation,
    limits: &Limits,
) -> Result<Arc<dyn ObjectStore>, LocationError> {
    // The store's own client repeats nothing: `request` does, where it is known what a repeat of
    // a conditional write may mean.
    let retry = RetryConfig {
        max_retries: 0,
        retry_timeout: limits.total,
        ..RetryConfig::default()
    };
    // How long a whole request may take depends on its size: `request` gives up what stands still.
    let client = ClientOptions::new()
        .with_timeout_disabled()
        .with_connect_timeout(limits.request);
    match &location.kind {
        Kind::Memory => Ok(Arc::new(InMemory::new())),
        Kind::Directory(path) => {
            std::fs::create_dir_all(path).map_err(|e| {
                location.unusable(format!(
                    "the directory cannot be made ({e}); choose one that this user may write to"
                ))
            })?;
            let store = LocalFileSystem::new_with_prefix(path)
                .map_err(|e| location.unusable(e.to_string()))?;
            // Other stores have no folders but those that something is in, and so has this one.
            Ok(Arc::new(store.with_automatic_cleanup(true)))
        }
        Kind::S3 => {
            let builder = AmazonS3Builder::new()
                .with_client_options(client)
                .with_retry(retry)
                .with_url(&location.url);
            let built = configure(builder, location, AmazonS3Builder::with_config).build();
            Ok(Arc::new(
                built.map_err(|e| location.unusable(e.to_string()))?,
            ))
        }
        Kind::Gcs => {
            let builder = GoogleCloudStorageBuilder::new()
                .with_client_options(client)
                .with_retry(retry)
                .with_url(&location.url);
            let built =
                configure(builder, location, GoogleCloudStorageBuilder::with_config).build();
            Ok(Arc::new(
                built.map_err(|e| location.unusable(e.to_string()))?,
            ))
        }
        Kind::Azure => {
            let builder = MicrosoftAzureBuilder::new()
                .with_client_options(client)
                .with_retry(retry)
                .with_url(&location.url);
            let built = configure(builder, location, MicrosoftAzureBuilder::with_config).build();
            Ok(Arc::new(
                built.map_err(|e| location.unusable(e.to_string()))?,
            ))
        }
    }
}

/// Applies the environment and then, over it, the options.
fn configure<B, K: std::str::FromStr>(
    mut builder: B,
    location: &StateLocation,
    with: fn(B, K, String) -> B,
) -> B {
    for (name, value) in location.environment.iter().chain(&location.options) {
        if let (false, Ok(key)) = (is_limit(name), name.parse()) {
            builder = with(builder, key, value.clone());
        }
    }
    builder
}
