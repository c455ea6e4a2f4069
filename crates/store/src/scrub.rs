//! Keeps secrets out of what is printed.

use std::fmt;
use std::sync::Arc;

/// Longest piece of a store's own words that an error repeats.
const LONGEST: usize = 600;
/// Shorter values are words such as `true`, which hide nothing and would garble messages.
const SHORTEST_SECRET: usize = 6;

/// Rewrites what object stores and their clients say: known secrets and the query strings of URLs
/// (where signatures travel) are blotted out, line breaks and overlong texts are cut.
#[derive(Clone, Default)]
pub(crate) struct Scrubber {
    secrets: Arc<[String]>,
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scrubber({} secrets)", self.secrets.len())
    }
}

impl Scrubber {
    /// Blots out the values of all settings whose name sounds like a secret.
    pub(crate) fn new<'a>(settings: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut secrets: Vec<String> = settings
            .filter(|(name, value)| sounds_secret(name) && value.len() >= SHORTEST_SECRET)
            .map(|(_, value)| value.to_string())
            .collect();
        // One secret may begin with another: the longer one must go first.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Scrubber {
            secrets: secrets.into(),
        }
    }

    pub(crate) fn clean(&self, text: &str) -> String {
        let mut text = text.to_string();
        for secret in self.secrets.iter() {
            text = text.replace(secret.as_str(), "***");
        }
        let words: Vec<&str> = text.split_whitespace().map(without_query).collect();
        let mut cleaned = words.join(" ");
        if let Some((end, _)) = cleaned.char_indices().nth(LONGEST) {
            cleaned.truncate(end);
            cleaned.push('…');
        }
        cleaned
    }
}

fn without_query(word: &str) -> &str {
    match word.split_once('?') {
        Some((before, _)) if before.contains("://") => before,
        _ => word,
    }
}

/// Whether a setting of that name is never to be shown.
pub(crate) fn sounds_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [
        "key",
        "secret",
        "token",
        "sas",
        "password",
        "credential",
        "signature",
    ]
    .iter()
    .any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_signatures_do_not_get_through() {
        let settings = [
            ("secret_access_key", "hunter2hunter2"),
            ("region", "eu-west-1"),
        ];
        let scrubber = Scrubber::new(settings.into_iter());
        let said = "PUT https://a.b/c?sig=abc%20def failed\n in eu-west-1: hunter2hunter2 is wrong";
        assert_eq!(
            scrubber.clean(said),
            "PUT https://a.b/c failed in eu-west-1: *** is wrong"
        );
        assert!(!format!("{scrubber:?}").contains("hunter2"));
    }

    #[test]
    fn long_answers_are_cut() {
        let cleaned = Scrubber::default().clean(&"é".repeat(5000));
        assert_eq!(cleaned.chars().count(), LONGEST + 1);
    }
}
