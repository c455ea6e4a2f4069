//! What comes with a statement, as those take it who heed it.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use paceline_model::{ErrorClass, QueryError};
use paceline_plan::SessionSettings;

/// A session's settings, divided among those who heed them.
pub(crate) struct Session {
    pub(crate) planning: SessionSettings,
    pub(crate) timeout: Option<Duration>,
}

/// Sorts settings by who heeds them; the planner refuses those that nobody does.
///
/// # Errors
/// What is wrong with the one that is heeded here.
pub(crate) fn session(
    settings: &paceline_frontend::SessionSettings,
) -> Result<Session, QueryError> {
    let mut planning = BTreeMap::new();
    let mut timeout = None;
    for (name, value) in settings.iter() {
        match name {
            "timeout" => {
                let parsed = humantime::parse_duration(value).map_err(|e| {
                    QueryError::new(
                        ErrorClass::User,
                        format!("timeout '{value}' is no duration ({e}): write 30s or 5m"),
                    )
                })?;
                timeout = Some(parsed);
            }
            "schema" => {
                let name = "datafusion.catalog.default_schema".to_string();
                planning.insert(name, value.to_string());
            }
            "catalog" => {
                let name = "datafusion.catalog.default_catalog".to_string();
                planning.insert(name, value.to_string());
            }
            _ => {
                planning.insert(name.to_string(), value.to_string());
            }
        }
    }
    Ok(Session {
        planning: SessionSettings(planning),
        timeout,
    })
}

/// The values of a statement's placeholders.
///
/// # Errors
/// If there is anything but one row of them.
pub(crate) fn parameters(values: Option<&RecordBatch>) -> Result<Vec<ScalarValue>, QueryError> {
    let Some(values) = values else {
        return Ok(Vec::new());
    };
    if values.num_rows() != 1 {
        return Err(QueryError::new(
            ErrorClass::Unsupported,
            format!(
                "{} rows of parameters were bound: bind one row for each execution",
                values.num_rows()
            ),
        ));
    }
    values
        .columns()
        .iter()
        .map(|column| ScalarValue::try_from_array(column, 0))
        .collect::<Result<_, _>>()
        .map_err(|e| paceline_plan::classify(&e))
}
