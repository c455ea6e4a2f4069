//! Where the state lies, as people write it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use object_store::path::Path;
use url::Url;

use crate::scrub::Scrubber;

/// A state location that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// Not a location at all, or of a kind that is not known.
    #[error(
        "'{location}' is not a state location: {reason}. Write a directory (/var/lib/paceline), file:///…, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or abfss://container@account.dfs.core.windows.net/prefix"
    )]
    Malformed {
        /// What was given.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The location carries credentials. It is not repeated here.
    #[error(
        "the {scheme}:// state location carries credentials or a query; put credentials into the options (access_key_id, secret_access_key, …) or the environment"
    )]
    CarriesSecrets {
        /// The scheme of the location.
        scheme: String,
    },
    /// An option that this kind of location does not have.
    #[error(
        "'{option}' is not an option of the state location {location}; usual ones are: {usual}"
    )]
    UnknownOption {
        /// The location.
        location: String,
        /// The option.
        option: String,
        /// The most used options of such a location.
        usual: &'static str,
    },
    /// The options do not go together, or the directory cannot be made.
    #[error("the state location {location} cannot be used: {reason}")]
    Unusable {
        /// The location.
        location: String,
        /// Why, and what to do.
        reason: String,
    },
}

/// What kind of store it is, with what the kind needs.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory(PathBuf),
    Memory,
    S3,
    Gcs,
    Azure,
}

impl Kind {
    /// What the names of environment variables for such a store begin with.
    fn environment_prefix(&self) -> Option<&'static str> {
        match self {
            Kind::Directory(_) | Kind::Memory => None,
            Kind::S3 => Some("AWS_"),
            Kind::Gcs => Some("GOOGLE_"),
            Kind::Azure => Some("AZURE_"),
        }
    }
}

/// Where the state of a cluster lies, checked, with what it takes to get there.
///
/// `Debug` and errors show the location and never an option's value.
#[derive(Clone)]
pub struct StateLocation {
    pub(crate) shown: String,
    pub(crate) kind: Kind,
    /// The URL without its path; empty for directories and memory.
    pub(crate) url: String,
    /// Below what the state lies in the store.
    pub(crate) root: Path,
    /// Given by the user: unknown ones are refused. Names are in lower case.
    pub(crate) options: BTreeMap<String, String>,
    /// Found in the environment: unknown ones are passed over, options go before.
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) scrubber: Scrubber,
}

impl fmt::Debug for StateLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateLocation")
            .field("location", &self.shown)
            .field("options", &self.options.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for StateLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl StateLocation {
    /// Reads a location and the options that go with it.
    ///
    /// `environment` is what the process was started with (`std::env::vars()`); of it, `AWS_…`,
    /// `GOOGLE_…` or `AZURE_…` fill in what `options` leave out. Nothing is contacted yet.
    ///
    /// # Errors
    /// [`LocationError`] says what is wrong with the location or its options.
    pub fn parse(
        text: &str,
        options: &BTreeMap<String, String>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, LocationError> {
        let (kind, url, root, shown) = split(text.trim())?;
        let environment = match kind.environment_prefix() {
            None => BTreeMap::new(),
            Some(prefix) => environment
                .into_iter()
                .filter(|(name, _)| name.starts_with(prefix))
                .map(|(name, value)| (name.to_ascii_lowercase(), value))
                .collect(),
        };
        let options: BTreeMap<String, String> = options
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
            .collect();
        let scrubber = Scrubber::new(
            options
                .iter()
                .chain(&environment)
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        let location = StateLocation {
            shown,
            kind,
            url,
            root,
            options,
            environment,
            scrubber,
        };
        crate::connect::check(&location)?;
        Ok(location)
    }

    /// Whether other machines can see the state, as schedulers on several machines must.
    pub fn is_shared_between_machines(&self) -> bool {
        !matches!(self.kind, Kind::Directory(_) | Kind::Memory)
    }

    /// Whether what is created there is to be synced: in a directory, unless an option says no.
    pub(crate) fn is_synced(&self) -> bool {
        matches!(self.kind, Kind::Directory(_)) && self.setting(&["sync"]) != Some("false")
    }

    pub(crate) fn unusable(&self, reason: impl AsRef<str>) -> LocationError {
        LocationError::Unusable {
            location: self.shown.clone(),
            reason: self.scrubber.clean(reason.as_ref()),
        }
    }

    /// A setting under any of its names, options before environment.
    pub(crate) fn setting(&self, names: &[&str]) -> Option<&str> {
        [&self.options, &self.environment]
            .into_iter()
            .find_map(|settings| names.iter().find_map(|name| settings.get(*name)))
            .map(String::as_str)
    }
}

type Split = (Kind, String, Path, String);

fn split(text: &str) -> Result<Split, LocationError> {
    if text.is_empty() {
        return Err(malformed(text, "it is empty"));
    }
    if !text.contains("://") {
        let path = std::path::absolute(text).map_err(|e| malformed(text, &e.to_string()))?;
        return Ok(directory(path));
    }
    let url = Url::parse(text).map_err(|e| {
        // A text that is no URL may hold anything, so only what stands before the :// is shown.
        let scheme = text.split("://").next().unwrap_or_default();
        malformed(&format!("{scheme}://…"), &e.to_string())
    })?;
    // abfss://container@account… writes the container where others write a user.
    let azure_host = matches!(url.scheme(), "abfs" | "abfss");
    let has_user = !url.username().is_empty() && !azure_host;
    if has_user || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        let scheme = url.scheme().to_string();
        return Err(LocationError::CarriesSecrets { scheme });
    }
    let kind = match url.scheme() {
        "file" => {
            let path = url
                .to_file_path()
                .map_err(|()| malformed(text, "a file location has three slashes: file:///dir"))?;
            return Ok(directory(path));
        }
        "memory" => Kind::Memory,
        "s3" | "s3a" => Kind::S3,
        "gs" => Kind::Gcs,
        "az" | "azure" | "adl" | "abfs" | "abfss" => Kind::Azure,
        other => {
            return Err(malformed(
                text,
                &format!("'{other}' is not a kind of store"),
            ));
        }
    };
    if kind != Kind::Memory && url.host_str().is_none_or(str::is_empty) {
        return Err(malformed(text, "the bucket or container is missing"));
    }
    let root = Path::from_url_path(url.path()).map_err(|e| malformed(text, &e.to_string()))?;
    let mut bare = url.clone();
    bare.set_path("");
    Ok((kind, bare.to_string(), root, text.to_string()))
}

fn directory(path: PathBuf) -> Split {
    let shown = path.display().to_string();
    (Kind::Directory(path), String::new(), Path::default(), shown)
}

fn malformed(location: &str, reason: &str) -> LocationError {
    LocationError::Malformed {
        location: location.to_string(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, options: &[(&str, &str)]) -> Result<StateLocation, LocationError> {
        let options = options
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect();
        StateLocation::parse(text, &options, [])
    }

    #[test]
    fn locations_are_read_as_people_write_them() {
        for (text, root) in [
            ("/var/lib/paceline", ""),
            ("state", ""),
            ("file:///var/lib/pace%20line", ""),
            ("s3://bucket", ""),
            ("s3://bucket/a/b/", "a/b"),
            ("gs://bucket/a", "a"),
            ("az://container/a", "a"),
            ("abfss://container@account.dfs.core.windows.net/a", "a"),
            ("memory:///", ""),
        ] {
            let location = parse(text, &[]).unwrap();
            assert_eq!(location.root.as_ref(), root, "{text}");
        }
        assert!(matches!(
            parse("file:///a%20b", &[]).unwrap().kind,
            Kind::Directory(path) if path.to_str() == Some("/a b")
        ));
    }

    #[test]
    fn what_is_no_location_is_named() {
        for (text, word) in [
            ("", "empty"),
            ("ftp://host/x", "'ftp'"),
            ("s3:///prefix", "bucket"),
            ("file://relative/path", "three slashes"),
            ("://x", "state location"),
        ] {
            let said = parse(text, &[]).unwrap_err().to_string();
            assert!(said.contains(word), "{text}: {said}");
        }
    }

    #[test]
    fn unknown_options_are_refused_and_unknown_environment_is_not() {
        let said = parse("s3://bucket", &[("regoin", "x")])
            .unwrap_err()
            .to_string();
        assert!(
            said.contains("'regoin'") && said.contains("region"),
            "{said}"
        );
        assert!(parse("/var/lib/paceline", &[("region", "x")]).is_err());
        for (value, is_synced) in [("false", false), ("true", true)] {
            let location = parse("/var/lib/paceline", &[("sync", value)]).unwrap();
            assert_eq!(location.is_synced(), is_synced);
        }
        let said = parse("/var/lib/paceline", &[("sync", "no")]).unwrap_err();
        assert!(said.to_string().contains("true or false"), "{said}");
        assert!(parse("s3://bucket", &[("sync", "false")]).is_err());
        let environment = [
            ("AWS_PAGER".to_string(), "less".to_string()),
            ("AWS_REGION".to_string(), "eu-west-1".to_string()),
        ];
        let location = StateLocation::parse("s3://bucket", &BTreeMap::new(), environment).unwrap();
        assert_eq!(
            location.setting(&["region", "aws_region"]),
            Some("eu-west-1")
        );
    }

    #[test]
    fn secrets_are_shown_nowhere() {
        for text in [
            "s3://AKIAEXAMPLE:hunter2hunter2@bucket/x",
            "s3://bucket/x?sig=hunter2hunter2",
            "az://user:hunter2hunter2@container/x",
            "s3://[hunter2hunter2",
        ] {
            let error = parse(text, &[]).unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(!said.contains("hunter2"), "{said}");
        }
        let location = parse(
            "s3://bucket",
            &[("secret_access_key", "hunter2hunter2"), ("region", "r")],
        )
        .unwrap();
        let said = format!("{location} {location:?}");
        assert!(!said.contains("hunter2"), "{said}");
    }

    #[test]
    fn a_plain_http_endpoint_must_be_allowed() {
        let endpoint = ("endpoint", "http://127.0.0.1:9");
        let said = parse("s3://bucket", &[endpoint]).unwrap_err().to_string();
        assert!(said.contains("allow_http"), "{said}");
        assert!(parse("s3://bucket", &[endpoint, ("allow_http", "true")]).is_ok());
    }
}
