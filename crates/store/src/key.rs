//! Names of objects below the root of the state.

use std::fmt;

use object_store::path::Path;

/// The name of an object, relative to the root of the state: `catalog/00000000000000000001`.
/// Whatever a segment holds is encoded, so that a scheduler's name cannot climb out of its folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Path);

impl Key {
    /// A name of one segment.
    pub fn new(segment: &str) -> Self {
        Key(Path::default().join(segment))
    }

    /// The name one level deeper.
    #[must_use]
    pub fn child(&self, segment: &str) -> Self {
        Key(self.0.clone().join(segment))
    }

    /// The name one level deeper, of a number written so that names sort as numbers do.
    #[must_use]
    pub fn numbered(&self, number: u64) -> Self {
        self.child(&format!("{number:020}"))
    }

    /// The last segment.
    pub fn name(&self) -> Option<&str> {
        self.0.filename()
    }

    /// The segment at a depth, from 0.
    pub(crate) fn part(&self, depth: usize) -> Option<&str> {
        self.0.as_ref().split('/').nth(depth)
    }

    /// The last segment, as a number that [`numbered`](Self::numbered) wrote.
    pub fn number(&self) -> Option<u64> {
        let name = self.0.filename()?;
        if name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit()) {
            name.parse().ok()
        } else {
            None
        }
    }

    /// Where the object lies in a store whose state begins at `root`.
    pub(crate) fn under(&self, root: &Path) -> Path {
        Path::from_iter(root.parts().chain(self.0.parts()))
    }

    /// The key of an object that lies there; none for what lies outside `root`.
    pub(crate) fn relative(path: &Path, root: &Path) -> Option<Self> {
        let rest = Path::from_iter(path.prefix_match(root)?);
        (!rest.is_root()).then_some(Key(rest))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_folder() {
        let folder = Key::new("members");
        for name in ["../cluster", "a/b", "..", "x#1"] {
            let path = folder.child(name).under(&Path::from("root"));
            assert_eq!(path.parts_count(), 3, "{name} became {path}");
            assert!(path.as_ref().starts_with("root/members/"), "{path}");
        }
    }

    #[test]
    fn numbered_names_sort_as_numbers() {
        let folder = Key::new("catalog");
        assert!(folder.numbered(9) < folder.numbered(10));
        assert!(folder.numbered(10) < folder.numbered(u64::MAX));
        assert_eq!(folder.numbered(u64::MAX).number(), Some(u64::MAX));
        assert_eq!(folder.child("12").number(), None);
    }

    #[test]
    fn a_key_is_found_again_below_its_root() {
        let key = Key::new("catalog").numbered(7);
        for root in ["", "a/b"] {
            let root = Path::from(root);
            assert_eq!(Key::relative(&key.under(&root), &root), Some(key.clone()));
        }
        assert_eq!(
            Key::relative(&Path::from("other/x"), &Path::from("a")),
            None
        );
    }
}
