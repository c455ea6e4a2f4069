//! Whether a licence is one of those that deny.toml allows.

use std::collections::BTreeSet;

pub(super) struct Allowed(BTreeSet<String>);

/// What was read of an expression: whether it is met, and the words after it.
type Read<'a> = (bool, &'a [&'a str]);

impl Allowed {
    pub(super) fn by(deny: &toml::Table) -> Self {
        let licences = deny["licenses"]["allow"].as_array().unwrap().iter();
        Allowed(licences.map(|l| l.as_str().unwrap().to_string()).collect())
    }

    /// Whether an SPDX expression, or what older packages have instead of one, can be met.
    pub(super) fn allows(&self, expression: &str) -> bool {
        let apart = [("/", " OR "), ("(", " ( "), (")", " ) ")];
        let spaced = apart
            .into_iter()
            .fold(expression.to_string(), |text, (from, to)| {
                text.replace(from, to)
            });
        let words: Vec<&str> = spaced.split_whitespace().collect();
        matches!(self.either(&words), (true, []))
    }

    fn either<'a>(&self, words: &'a [&'a str]) -> Read<'a> {
        let (mut met, mut rest) = self.both(words);
        while let ["OR", more @ ..] = rest {
            let (other, left) = self.both(more);
            (met, rest) = (met || other, left);
        }
        (met, rest)
    }

    fn both<'a>(&self, words: &'a [&'a str]) -> Read<'a> {
        let (mut met, mut rest) = self.one(words);
        while let ["AND", more @ ..] = rest {
            let (other, left) = self.one(more);
            (met, rest) = (met && other, left);
        }
        (met, rest)
    }

    fn one<'a>(&self, words: &'a [&'a str]) -> Read<'a> {
        match words {
            ["(", inner @ ..] => match self.either(inner) {
                (met, [")", rest @ ..]) => (met, rest),
                (_, rest) => (false, rest),
            },
            [licence, "WITH", exception, rest @ ..] => {
                let both = format!("{licence} WITH {exception}");
                (self.0.contains(&both), rest)
            }
            [licence, rest @ ..] => (self.0.contains(*licence), rest),
            [] => (false, words),
        }
    }
}

#[test]
fn expressions_are_met_by_what_is_allowed() {
    let licences = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"];
    let allowed = Allowed(licences.map(String::from).into());
    for expression in [
        "MIT",
        "GPL-3.0 OR MIT",
        "Unlicense/MIT",
        "MIT AND ISC",
        "Apache-2.0 WITH LLVM-exception OR Apache-2.0",
        "(GPL-3.0 OR ISC) AND MIT",
        "GPL-3.0 AND ISC OR MIT",
    ] {
        assert!(allowed.allows(expression), "{expression}");
    }
    for expression in [
        "",
        "GPL-3.0",
        "GPL-3.0 AND MIT",
        "Apache-2.0",
        "(MIT",
        "MIT ISC",
        "(GPL-3.0 OR ISC) AND GPL-3.0",
    ] {
        assert!(!allowed.allows(expression), "{expression}");
    }
}
