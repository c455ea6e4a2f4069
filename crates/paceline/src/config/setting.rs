//! The types that options have, each with the way people write it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use paceline_model::ByteSize;
use toml::Value;

/// Longer is nothing that anybody waits for, and moments that lie further ahead cannot be reckoned with.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A text that an option cannot take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found} is not {expected}")]
pub struct InvalidSetting {
    /// The text.
    pub found: String,
    /// What it should be.
    pub expected: &'static str,
}

/// A type that an option can have.
pub trait Setting: Sized {
    /// What a value is, in words that follow "must be".
    const KIND: &'static str;

    /// Reads it from a flag or a variable.
    ///
    /// # Errors
    /// [`InvalidSetting`] if `text` is no such value.
    fn from_text(text: &str) -> Result<Self, InvalidSetting>;

    /// Reads it from a file.
    ///
    /// # Errors
    /// [`InvalidSetting`] if `value` is no such value.
    fn from_toml(value: &Value) -> Result<Self, InvalidSetting> {
        match value {
            Value::String(text) => Self::from_text(text),
            Value::Integer(number) => Self::from_text(&number.to_string()),
            other => Err(Self::invalid(other)),
        }
    }

    /// Writes it as a file would have it. Secrets are masked.
    fn to_toml(&self) -> Value;

    /// That `found` is no such value.
    fn invalid(found: impl fmt::Display) -> InvalidSetting {
        InvalidSetting {
            found: format!("'{found}'"),
            expected: Self::KIND,
        }
    }
}

fn parsed<T: FromStr + Setting>(text: &str) -> Result<T, InvalidSetting> {
    text.trim().parse().map_err(|_| T::invalid(text))
}

macro_rules! number {
    ($type:ty, $kind:literal) => {
        impl Setting for $type {
            const KIND: &'static str = $kind;
            fn from_text(text: &str) -> Result<Self, InvalidSetting> {
                parsed(text)
            }
            fn to_toml(&self) -> Value {
                // No option comes near the largest number that TOML knows.
                Value::Integer(i64::try_from(*self).unwrap_or(i64::MAX))
            }
        }
    };
}
number!(u16, "a port between 0 and 65535 (0: any free one)");
number!(u32, "a whole number");
number!(usize, "a whole number");

impl Setting for bool {
    const KIND: &'static str = "true or false";
    fn from_text(text: &str) -> Result<Self, InvalidSetting> {
        parsed(text)
    }
    fn from_toml(value: &Value) -> Result<Self, InvalidSetting> {
        value.as_bool().ok_or_else(|| Self::invalid(value))
    }
    fn to_toml(&self) -> Value {
        Value::Boolean(*self)
    }
}

impl Setting for String {
    const KIND: &'static str = "a text";
    fn from_text(text: &str) -> Result<Self, InvalidSetting> {
        Ok(text.to_string())
    }
    fn to_toml(&self) -> Value {
        Value::String(self.clone())
    }
}

impl Setting for IpAddr {
    const KIND: &'static str = "an IP address, such as 127.0.0.1 or 0.0.0.0";
    fn from_text(text: &str) -> Result<Self, InvalidSetting> {
        parsed(text)
    }
    fn to_toml(&self) -> Value {
        Value::String(self.to_string())
    }
}

impl Setting for ByteSize {
    const KIND: &'static str = "a size, such as 512MiB or 2GB";
    fn from_text(text: &str) -> Result<Self, InvalidSetting> {
        parsed(text)
    }
    fn to_toml(&self) -> Value {
        Value::String(self.to_string())
    }
}

/// A length of time, written `500ms`, `2s` or `5min`; a century at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub Duration);

impl Setting for Millis {
    const KIND: &'static str = "a duration, such as 500ms, 2s or 5min";
    fn from_text(text: &str) -> Result<Self, InvalidSetting> {
        let time = humantime::parse_duration(text.trim()).map_err(|_| Self::invalid(text))?;
        if time > LONGEST {
            return Err(InvalidSetting {
                expected: "a duration of a century at most",
                ..Self::invalid(text)
            });
        }
        Ok(Millis(time))
    }
    fn to_toml(&self) -> Value {
        Value::String(self.to_string())
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// How exchange outputs are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    None,
    /// Fast.
    Lz4,
    /// Small.
    Zstd,
}

impl Codec {
    const NAMES: [(Codec, &'static str); 3] = [
        (Codec::None, "none"),
        (Codec::Lz4, "lz4"),
        (Codec::Zstd, "zstd"),
    ];
}

impl Setting for Codec {
    const KIND: &'static str = "none, lz4 or zstd";
    fn from_text(text: &str) -> Result<Self, InvalidSetting> {
        let named = Self::NAMES.iter().find(|(_, name)| *name == text.trim());
        named
            .map(|&(codec, _)| codec)
            .ok_or_else(|| Self::invalid(text))
    }
    fn to_toml(&self) -> Value {
        let name = Self::NAMES.iter().find(|(codec, _)| codec == self);
        Value::String(name.map_or("", |(_, name)| name).to_string())
    }
}

/// A value that the process works out for itself unless it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auto<T> {
    /// It works it out.
    Auto,
    /// It is told.
    Is(T),
}

impl<T: Copy> Auto<T> {
    /// What it was told, or else what `work_out` says.
    pub fn or_else(&self, work_out: impl FnOnce() -> T) -> T {
        match *self {
            Auto::Auto => work_out(),
            Auto::Is(value) => value,
        }
    }
}

impl<T: Setting + AutoKind> Setting for Auto<T> {
    const KIND: &'static str = T::AUTO_KIND;
    fn from_text(text: &str) -> Result<Self, InvalidSetting> {
        if text.trim() == "auto" {
            return Ok(Auto::Auto);
        }
        T::from_text(text)
            .map(Auto::Is)
            .map_err(|_| Self::invalid(text))
    }
    fn to_toml(&self) -> Value {
        match self {
            Auto::Auto => Value::String("auto".to_string()),
            Auto::Is(value) => value.to_toml(),
        }
    }
}

/// A type that can stand in [`Auto`].
pub trait AutoKind {
    /// What a value is, `auto` included.
    const AUTO_KIND: &'static str;
}
impl AutoKind for u32 {
    const AUTO_KIND: &'static str = "a whole number, or 'auto'";
}
impl AutoKind for ByteSize {
    const AUTO_KIND: &'static str = "a size, such as 512MiB or 2GB, or 'auto'";
}

impl Setting for Vec<String> {
    const KIND: &'static str = "a list (in flags and variables: separated by commas)";
    fn from_text(text: &str) -> Result<Self, InvalidSetting> {
        let parts = text.split(',').map(str::trim);
        Ok(parts
            .filter(|part| !part.is_empty())
            .map(String::from)
            .collect())
    }
    fn from_toml(value: &Value) -> Result<Self, InvalidSetting> {
        let texts = |list: &Vec<Value>| {
            list.iter()
                .map(|item| item.as_str().map(String::from))
                .collect::<Option<Vec<_>>>()
        };
        value
            .as_array()
            .and_then(texts)
            .ok_or_else(|| Self::invalid(value))
    }
    fn to_toml(&self) -> Value {
        Value::Array(self.iter().cloned().map(Value::String).collect())
    }
}

/// Named values, some of which are secrets. Printed, these show as `***`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Masked(pub BTreeMap<String, String>);

impl Masked {
    fn shown(&self) -> impl Iterator<Item = (&str, &str)> {
        let secret = |name: &str| {
            let name = name.to_ascii_lowercase();
            ["secret", "token", "password", "key", "credential", "sas"]
                .iter()
                .any(|word| name.contains(word))
        };
        self.0.iter().map(move |(name, value)| {
            let value = if secret(name) { "***" } else { value };
            (name.as_str(), value)
        })
    }
}

impl fmt::Debug for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.shown()).finish()
    }
}

impl Setting for Masked {
    const KIND: &'static str =
        "a table of texts (in flags and variables: name=value, separated by commas)";
    fn from_text(text: &str) -> Result<Self, InvalidSetting> {
        let parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        parts
            .map(|part| {
                let (name, value) = part.split_once('=')?;
                Some((name.trim().to_string(), value.trim().to_string()))
            })
            .collect::<Option<BTreeMap<_, _>>>()
            .map(Masked)
            // The text itself may hold a secret.
            .ok_or_else(|| Self::invalid("***"))
    }
    fn from_toml(value: &Value) -> Result<Self, InvalidSetting> {
        let text = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Integer(_) | Value::Boolean(_) => Some(value.to_string()),
            _ => None,
        };
        value
            .as_table()
            .and_then(|table| {
                table
                    .iter()
                    .map(|(name, value)| Some((name.clone(), text(value)?)))
                    .collect::<Option<BTreeMap<_, _>>>()
            })
            .map(Masked)
            .ok_or_else(|| Self::invalid("***"))
    }
    fn to_toml(&self) -> Value {
        Value::Table(
            self.shown()
                .map(|(name, value)| (name.to_string(), Value::String(value.to_string())))
                .collect(),
        )
    }
}
