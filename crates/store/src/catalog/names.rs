//! The names that clients gave changes, as far back as they are remembered.
//!
//! The log has them all, and whoever folds it remembers the same ones: the latest. A client that sends a
//! change again does so soon, and one that comes back after thousands of others is told what it would be
//! told after any other statement that ended long ago: nothing. What must never happen is that one process
//! makes a change which another has made while it was under way. So it is said up to which version names
//! were forgotten: who began before that cannot tell, and makes none.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use paceline_model::{CatalogVersion, QueryId};

use super::ChangeName;

/// How many names are remembered.
const REMEMBERED: usize = 4096;

/// What was made under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Made {
    version: CatalogVersion,
    statement: Arc<str>,
}

/// The latest names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    made: BTreeMap<QueryId, Made>,
    /// The latest last.
    order: VecDeque<(CatalogVersion, QueryId)>,
    forgotten: CatalogVersion,
}

impl Names {
    /// Takes in the name of the change that made a version.
    pub(super) fn insert(&mut self, name: &ChangeName, version: CatalogVersion) {
        let made = Made {
            version,
            statement: Arc::from(name.statement.as_str()),
        };
        self.made.insert(name.query, made);
        self.order.push_back((version, name.query));
        if self.order.len() > REMEMBERED {
            self.forget_one();
        }
    }

    fn forget_one(&mut self) {
        let Some((version, query)) = self.order.pop_front() else {
            return;
        };
        self.forgotten = version;
        // A name that was forgotten may have been given again.
        if self.made.get(&query).map(|made| made.version) == Some(version) {
            self.made.remove(&query);
        }
    }

    /// The digest of the statement that was carried out under a name, if that is remembered.
    pub(super) fn statement(&self, query: QueryId) -> Option<&str> {
        self.made.get(&query).map(|made| &*made.statement)
    }

    /// Names of changes after this version are all remembered.
    pub(super) fn forgotten(&self) -> CatalogVersion {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: u64) -> ChangeName {
        ChangeName {
            query: QueryId::from_slice(&u128::from(n).to_be_bytes()).unwrap(),
            statement: n.to_string(),
        }
    }

    #[test]
    fn the_latest_names_are_remembered() {
        let mut names = Names::default();
        let many = REMEMBERED as u64;
        for n in 1..=many {
            names.insert(&name(n), CatalogVersion(n));
        }
        assert_eq!(names.forgotten(), CatalogVersion(0));
        assert_eq!(names.statement(name(1).query), Some("1"));
        names.insert(&name(1), CatalogVersion(many + 1));
        assert_eq!(names.forgotten(), CatalogVersion(1));
        assert_eq!(names.statement(name(1).query), Some("1"), "given again");
        names.insert(&name(many + 2), CatalogVersion(many + 2));
        assert_eq!(names.statement(name(2).query), None);
        assert_eq!(names.made.len(), REMEMBERED);
        assert_eq!(names.order.len(), REMEMBERED);
    }
}
