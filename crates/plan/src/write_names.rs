//! How the files are called that a query writes.

use datafusion::common::{Result, plan_datafusion_err};
use datafusion::execution::object_store::ObjectStoreUrl;
use object_store::path::Path;
use paceline_model::OutputId;
use url::Url;

use crate::encoder::FileFormat;

/// What the names of files are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// The attempt: nobody else ever writes there, and nobody looks before a commit names the file.
    Aside,
    /// The partition and not the attempt: a repeat replaces the file, as a whole.
    Repeatable,
    /// The location itself is the name.
    Whole,
}

impl Names {
    /// The name below the location of what an attempt makes of a partition.
    pub(crate) fn of(self, id: &OutputId, partition: u32, format: &FileFormat) -> String {
        let (query, end) = (id.query, format.kind.extension());
        match self {
            Names::Aside => format!(
                "{query}/{}-{}-{}-{partition}.{end}",
                id.stage, id.task, id.attempt
            ),
            Names::Repeatable => format!("{query}-{partition}.{end}"),
            Names::Whole => String::new(),
        }
    }
}

/// The store and the path of a name below a location.
///
/// # Errors
/// If the location is no URL.
pub(crate) fn place(location: &str, name: &str) -> Result<(ObjectStoreUrl, Path)> {
    let bad = |e: &dyn std::fmt::Display| plan_datafusion_err!("'{location}' is no location: {e}");
    let url = Url::parse(location).map_err(|e| bad(&e))?;
    let store = ObjectStoreUrl::parse(&url[..url::Position::BeforePath]).map_err(|e| bad(&e))?;
    let folder = Path::from_url_path(url.path()).map_err(|e| bad(&e))?;
    let segments = name.split('/').filter(|segment| !segment.is_empty());
    let path = segments.fold(folder, |path, segment| path.join(segment));
    Ok((store, path))
}

#[cfg(test)]
mod tests {
    use paceline_model::{Attempt, QueryId, StageId, TaskId};

    use super::*;
    use crate::encoder::Kind;

    #[test]
    fn a_repeat_never_writes_where_an_attempt_wrote_aside() {
        let format = FileFormat::plain(Kind::Parquet);
        let id = |attempt| OutputId {
            query: QueryId::from_slice(&[7; 16]).unwrap(),
            stage: StageId(2),
            task: TaskId(1),
            attempt: Attempt(attempt),
        };
        let query = "07070707-0707-0707-0707-070707070707";
        let aside = |attempt| Names::Aside.of(&id(attempt), 5, &format);
        assert_eq!(aside(0), format!("{query}/2-1-0-5.parquet"));
        assert_ne!(aside(0), aside(1));
        let repeatable = |attempt| Names::Repeatable.of(&id(attempt), 5, &format);
        assert_eq!(repeatable(0), format!("{query}-5.parquet"));
        assert_eq!(repeatable(0), repeatable(1));
    }

    #[test]
    fn names_lie_below_their_location() {
        let at = |location: &str, name: &str| {
            let (store, path) = place(location, name).unwrap();
            (store.to_string(), path.to_string())
        };
        let found = at("s3://bucket/a%20b/t/", "q/0.parquet");
        assert_eq!(found, ("s3://bucket/".into(), "a b/t/q/0.parquet".into()));
        let found = at("file:///data/x.csv", "");
        assert_eq!(found, ("file:///".into(), "data/x.csv".into()));
        assert!(place("data/x", "").is_err());
    }
}
