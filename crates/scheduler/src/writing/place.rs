//! Where the files of managed tables lie.

use std::path::Path;

use url::Url;

use crate::error::StartError;

/// The place that was given, or a folder beside the state; none for state in memory, which has none.
///
/// # Errors
/// If what was given is no location.
pub(crate) fn data_location(given: &str, state: &str) -> Result<Option<Url>, StartError> {
    let chosen = match given.trim() {
        "" if state.starts_with("memory:") => return Ok(None),
        "" => format!("{}/data", state.trim().trim_end_matches('/')),
        given => given.to_string(),
    };
    let bad = |reason: String| StartError::DataLocation {
        location: shown(&chosen),
        reason,
    };
    if chosen.contains("://") {
        let url = Url::parse(&chosen).map_err(|e| bad(e.to_string()))?;
        let named = !url.username().is_empty() && !url.scheme().starts_with("abfs");
        if named || url.password().is_some() {
            let reason = "credentials belong into storage.options or the environment";
            return Err(bad(reason.to_string()));
        }
        return Ok(Some(url));
    }
    let path = std::path::absolute(Path::new(&chosen)).map_err(|e| bad(e.to_string()))?;
    let url = Url::from_directory_path(&path).map_err(|()| bad("it is no path".to_string()))?;
    Ok(Some(url))
}

/// A location without what may be credentials.
fn shown(location: &str) -> String {
    match location.split_once("://") {
        Some((scheme, rest)) if rest.contains('@') => format!("{scheme}://…"),
        _ => location.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(given: &str, state: &str) -> String {
        let url = data_location(given, state).unwrap();
        url.map_or_else(String::new, String::from)
    }

    #[test]
    fn data_lies_beside_the_state_unless_it_is_told_otherwise() {
        assert_eq!(chosen("", "/var/lib/p a"), "file:///var/lib/p%20a/data/");
        assert_eq!(chosen("", "s3://bucket/p/"), "s3://bucket/p/data");
        assert_eq!(chosen("", "memory:///"), "");
        assert_eq!(chosen("/tables", "memory:///"), "file:///tables/");
        assert_eq!(chosen("s3://b/t/", "/state"), "s3://b/t/");
    }

    #[test]
    fn credentials_are_refused_and_not_repeated() {
        // One of them is no location either.
        for given in ["s3://user:hunter2@b/t", "s3://user:hunter2@b:port/t"] {
            let refused = data_location(given, "/state").unwrap_err().to_string();
            assert!(!refused.contains("hunter2"), "{refused}");
            assert!(refused.contains("'s3://…'"), "{refused}");
        }
        let refused = data_location("s3://b:port/t", "/state").unwrap_err();
        assert!(refused.to_string().contains("'s3://b:port/t'"), "{refused}");
    }
}
