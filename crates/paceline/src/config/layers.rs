//! Puts a configuration together.

use std::path::Path;

use toml::Value;

use super::nearest::nearest;
use super::section::Given;
use super::tables::{self, Table};
use super::{ConfigError, Configuration, InvalidSetting, Origin, Role, relations};

/// What one flag says: its section and field, and the text.
pub(super) struct FlagValue {
    pub(super) section: String,
    pub(super) field: String,
    pub(super) text: String,
}

/// The configuration of a process: defaults, then the file, then the environment, then the flags.
///
/// # Errors
/// [`ConfigError`] for whatever is not understood or cannot work.
pub fn load(
    role: Role,
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
    flags: &super::Flags,
) -> Result<Configuration, ConfigError> {
    let mut configuration = Configuration::default();
    if let Some(path) = file {
        apply_file(&mut configuration, path)?;
    }
    apply_environment(&mut configuration, environment)?;
    for flag in &flags.values {
        let origin = || Origin::Flag(super::flags::long(&flag.section, &flag.field));
        let given = Given::Text(&flag.text);
        apply(
            &mut configuration,
            &flag.section,
            &flag.field,
            given,
            &origin,
        )?;
    }
    relations::check(role, &configuration)?;
    Ok(configuration)
}

fn apply_file(configuration: &mut Configuration, path: &Path) -> Result<(), ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_path_buf(),
        source,
    })?;
    let root: toml::Table = toml::from_str(&text).map_err(|error| ConfigError::Syntax {
        path: path.to_path_buf(),
        message: place(&text, &error),
    })?;
    let origin = || Origin::File(path.to_path_buf());
    for (name, value) in &root {
        if name == "tables" {
            configuration.tables = read_tables(value, &origin)?;
            continue;
        }
        if configuration.section_mut(name).is_none() {
            let known = configuration.sections().map(|section| section.name());
            let known = known.into_iter().chain(["tables"]);
            return Err(unknown(name, known, &origin));
        }
        let Some(fields) = value.as_table() else {
            return Err(wrong(
                name,
                value,
                "a section, such as [scheduler]",
                &origin,
            ));
        };
        for (field, value) in fields {
            apply(configuration, name, field, Given::Toml(value), &origin)?;
        }
    }
    Ok(())
}

/// What the parser says, without its excerpt of the file, which may show a secret.
fn place(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map_or(0, |before| before.matches('\n').count() + 1);
    format!("line {line}: {}", error.message())
}

fn read_tables(value: &Value, origin: &dyn Fn() -> Origin) -> Result<Vec<Table>, ConfigError> {
    let entries = value
        .as_array()
        .ok_or_else(|| wrong("tables", value, "a list of [[tables]]", origin))?;
    entries
        .iter()
        .enumerate()
        .map(|(index, entry)| {
            let key = format!("tables[{index}]");
            let fields = entry.as_table().into_iter().flatten();
            for (field, _) in fields {
                if !tables::KEYS.contains(&field.as_str()) {
                    let known = tables::KEYS.into_iter();
                    return Err(unknown_in(&key, field, known, origin));
                }
            }
            Table::from_toml(entry).map_err(|error| invalid(&key, error, origin))
        })
        .collect()
}

fn apply_environment(
    configuration: &mut Configuration,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<(), ConfigError> {
    let mut named: Vec<(String, String)> = environment
        .filter_map(|(name, text)| Some((name.strip_prefix("PACELINE_")?.to_string(), text)))
        .collect();
    named.sort();
    for (name, text) in named {
        let lower = name.to_ascii_lowercase();
        let field = configuration.sections().into_iter().find_map(|section| {
            let field = lower.strip_prefix(section.name())?.strip_prefix('_')?;
            let known = section.fields().iter().find(|known| known.name == field)?;
            Some((section.name(), known.name))
        });
        // Unknown variables are left alone: Kubernetes, for one, sets PACELINE_SCHEDULER_PORT and
        // the like for a service of that name.
        if let Some((section, field)) = field {
            let origin = || Origin::Environment(format!("PACELINE_{name}"));
            apply(configuration, section, field, Given::Text(&text), &origin)?;
        }
    }
    Ok(())
}

fn apply(
    configuration: &mut Configuration,
    section: &str,
    field: &str,
    value: Given<'_>,
    origin: &dyn Fn() -> Origin,
) -> Result<(), ConfigError> {
    let Some(found) = configuration.section_mut(section) else {
        return Err(unknown(section, std::iter::empty(), origin));
    };
    let known = found.fields().iter().map(|field| field.name);
    match found.set(field, value) {
        Ok(true) => Ok(()),
        Ok(false) => Err(unknown_in(section, field, known, origin)),
        Err(error) => Err(invalid(&format!("{section}.{field}"), error, origin)),
    }
}

fn unknown<'a>(
    key: &str,
    known: impl Iterator<Item = &'a str> + Clone,
    origin: &dyn Fn() -> Origin,
) -> ConfigError {
    let advice = match nearest(key, known.clone()) {
        Some(nearest) => format!("did you mean '{nearest}'?"),
        None => format!("known ones are {}", known.collect::<Vec<_>>().join(", ")),
    };
    ConfigError::UnknownKey {
        key: key.to_string(),
        origin: origin(),
        advice,
    }
}

fn unknown_in<'a>(
    section: &str,
    key: &str,
    known: impl Iterator<Item = &'a str> + Clone,
    origin: &dyn Fn() -> Origin,
) -> ConfigError {
    match unknown(key, known, origin) {
        ConfigError::UnknownKey { origin, advice, .. } => ConfigError::UnknownKey {
            key: format!("{section}.{key}"),
            origin,
            advice,
        },
        other => other,
    }
}

fn invalid(key: &str, error: InvalidSetting, origin: &dyn Fn() -> Origin) -> ConfigError {
    ConfigError::Value {
        key: key.to_string(),
        origin: origin(),
        found: error.found,
        expected: error.expected.to_string(),
    }
}

fn wrong(key: &str, value: &Value, expected: &str, origin: &dyn Fn() -> Origin) -> ConfigError {
    ConfigError::Value {
        key: key.to_string(),
        origin: origin(),
        found: format!("a {}", value.type_str()),
        expected: expected.to_string(),
    }
}
