use serde::Deserialize;

use super::{InvalidSetting, Masked, Setting};

/// A table that exists from the start: one entry of `[[tables]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Its name, `table` or `schema.table`.
    pub name: String,
    /// parquet, csv, json or arrow.
    pub format: String,
    /// A file, or a directory (ending in `/`) of files.
    pub location: String,
    /// Options of the format and of the store, as in the OPTIONS of CREATE EXTERNAL TABLE.
    pub options: Masked,
}

/// The formats that tables can have.
pub(super) const FORMATS: [&str; 4] = ["parquet", "csv", "json", "arrow"];
/// The keys of an entry.
pub(super) const KEYS: [&str; 4] = ["name", "format", "location", "options"];

#[derive(Deserialize)]
struct Plain {
    name: String,
    format: String,
    location: String,
}

impl Table {
    pub(super) fn from_toml(value: &toml::Value) -> Result<Self, InvalidSetting> {
        let invalid = |expected| InvalidSetting {
            // An entry may hold a secret, so it is not repeated.
            found: "incomplete".to_string(),
            expected,
        };
        let plain = Plain::deserialize(value.clone())
            .map_err(|_| invalid("a table with the texts name, format and location"))?;
        let options = match value.get("options") {
            Some(options) => Masked::from_toml(options)?,
            None => Masked::default(),
        };
        if plain.name.trim().is_empty() || plain.location.trim().is_empty() {
            return Err(invalid("a table with a name and a location"));
        }
        let format = plain.format.to_ascii_lowercase();
        if !FORMATS.contains(&format.as_str()) {
            return Err(InvalidSetting {
                found: format!("of format '{}'", plain.format),
                expected: "of format parquet, csv, json or arrow",
            });
        }
        Ok(Table {
            name: plain.name,
            format,
            location: plain.location,
            options,
        })
    }

    /// The statement that makes the table. `OR REPLACE`, because the file says what is right.
    pub fn create_statement(&self) -> String {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let name: Vec<String> = self
            .name
            .split('.')
            .map(|part| format!("\"{}\"", part.replace('"', "\"\"")))
            .collect();
        let mut sql = format!(
            "CREATE OR REPLACE EXTERNAL TABLE {} STORED AS {} LOCATION {}",
            name.join("."),
            self.format.to_ascii_uppercase(),
            quoted(&self.location),
        );
        if !self.options.0.is_empty() {
            let options: Vec<String> = self
                .options
                .0
                .iter()
                .map(|(name, value)| format!("{} {}", quoted(name), quoted(value)))
                .collect();
            sql.push_str(&format!(" OPTIONS ({})", options.join(", ")));
        }
        sql
    }
}
