//! Object stores that tables lie on, opened when first met.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreRegistry;
use object_store::ObjectStore;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use parking_lot::RwLock;
use url::Url;

/// Opens `file`, `s3`, `gs`, `az` and `abfs` locations on demand. Credentials come from the
/// environment as the clouds' own tools read it, and from options that go before it.
pub struct ObjectStores {
    options: BTreeMap<String, String>,
    open: RwLock<BTreeMap<String, Arc<dyn ObjectStore>>>,
}

impl fmt::Debug for ObjectStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secrets.
        f.debug_struct("ObjectStores")
            .field("options", &self.options.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl ObjectStores {
    /// Stores that are opened with those options, named as the `object_store` crate names them
    /// (`endpoint`, `region`, `access_key_id`, `secret_access_key`, `allow_http`, …).
    pub fn new(options: BTreeMap<String, String>) -> Self {
        ObjectStores {
            options,
            open: RwLock::new(BTreeMap::new()),
        }
    }

    /// The first of these names that no kind of store has an option of. One that another kind has is passed
    /// over where a store is opened: the options are for all of them.
    pub(crate) fn unknown_option(options: &BTreeMap<String, String>) -> Option<&str> {
        let is_known = |name: &str| {
            name.parse::<AmazonS3ConfigKey>().is_ok()
                || name.parse::<GoogleConfigKey>().is_ok()
                || name.parse::<AzureConfigKey>().is_ok()
        };
        options
            .keys()
            .map(String::as_str)
            .find(|name| !is_known(name))
    }

    fn key(url: &Url) -> String {
        url[..url::Position::BeforePath].to_string()
    }

    fn connect(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        let failed = |e: object_store::Error| {
            DataFusionError::Plan(format!(
                "cannot use the object store of {}: {e}",
                Self::key(url)
            ))
        };
        match url.scheme() {
            "file" => Ok(Arc::new(LocalFileSystem::new())),
            "s3" | "s3a" => {
                let mut builder = AmazonS3Builder::from_env().with_url(url.as_str());
                for (name, value) in &self.options {
                    if let Ok(key) = name.parse() {
                        builder = builder.with_config(key, value);
                    }
                }
                Ok(Arc::new(builder.build().map_err(failed)?))
            }
            "gs" => {
                let mut builder = GoogleCloudStorageBuilder::from_env().with_url(url.as_str());
                for (name, value) in &self.options {
                    if let Ok(key) = name.parse() {
                        builder = builder.with_config(key, value);
                    }
                }
                Ok(Arc::new(builder.build().map_err(failed)?))
            }
            "az" | "abfs" | "abfss" | "azure" => {
                let mut builder = MicrosoftAzureBuilder::from_env().with_url(url.as_str());
                for (name, value) in &self.options {
                    if let Ok(key) = name.parse() {
                        builder = builder.with_config(key, value);
                    }
                }
                Ok(Arc::new(builder.build().map_err(failed)?))
            }
            other => Err(DataFusionError::Plan(format!(
                "'{other}' locations are not supported: use file, s3, gs, az or abfs"
            ))),
        }
    }
}

impl ObjectStoreRegistry for ObjectStores {
    fn register_store(
        &self,
        url: &Url,
        store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore>> {
        self.open.write().insert(Self::key(url), store)
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        let key = Self::key(url);
        if let Some(store) = self.open.read().get(&key) {
            return Ok(Arc::clone(store));
        }
        let store = self.connect(url)?;
        let mut open = self.open.write();
        Ok(Arc::clone(open.entry(key).or_insert(store)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_schemes_are_refused_by_name() {
        let stores = ObjectStores::new(BTreeMap::new());
        let error = stores.get_store(&Url::parse("ftp://host/x").unwrap());
        assert!(error.unwrap_err().to_string().contains("'ftp'"));
    }

    #[test]
    fn a_store_is_opened_once_and_secrets_are_not_shown() {
        let options = [
            ("region", "us-east-1"),
            ("access_key_id", "key"),
            ("secret_access_key", "hidden"),
        ];
        let options = options.map(|(k, v)| (k.to_string(), v.to_string()));
        let stores = ObjectStores::new(options.into());
        let url = Url::parse("s3://bucket/a/b").unwrap();
        let first = stores.get_store(&url).unwrap();
        let second = stores
            .get_store(&Url::parse("s3://bucket/c").unwrap())
            .unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert!(!format!("{stores:?}").contains("hidden"));
    }
}
