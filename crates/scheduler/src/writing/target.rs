//! Managed tables and writes, between the planner and the catalog log.

use paceline_model::QueryError;
use paceline_plan::{ManagedDefinition, ManagedFile, WriteInto, schema_from_ipc, schema_to_ipc};
use paceline_store::{ManagedTable, OnExisting, StoredTable, WriteTarget};

/// A managed table as the planner knows it.
///
/// # Errors
/// If its columns cannot be read.
pub(crate) fn managed_of(stored: &StoredTable) -> Result<ManagedDefinition, QueryError> {
    let table = &stored.table;
    let files = stored.files().map(|file| ManagedFile {
        path: file.path.clone(),
        rows: file.rows,
        bytes: file.bytes,
    });
    Ok(ManagedDefinition {
        schema: table.schema.clone(),
        name: table.name.clone(),
        id: table.id,
        location: table.location.clone(),
        sql: table.definition.clone(),
        columns: schema_from_ipc(&table.arrow_schema).map_err(|e| paceline_plan::classify(&e))?,
        files: files.collect(),
    })
}

/// A managed table as the log knows it.
pub(crate) fn managed(table: &ManagedDefinition) -> ManagedTable {
    ManagedTable {
        schema: table.schema.clone(),
        name: table.name.clone(),
        id: table.id,
        location: table.location.clone(),
        arrow_schema: schema_to_ipc(&table.columns).into(),
        definition: table.sql.clone(),
    }
}

/// Where in the catalog a write goes; nowhere if it goes into files of somebody else.
pub(crate) fn target(into: &WriteInto) -> Option<WriteTarget> {
    match into {
        WriteInto::Create {
            table,
            if_not_exists,
            or_replace,
        } => Some(WriteTarget::Create {
            table: managed(table),
            existing: existing(*if_not_exists, *or_replace),
        }),
        WriteInto::Append {
            schema,
            name,
            table,
            ..
        } => Some(WriteTarget::Append {
            schema: schema.clone(),
            name: name.clone(),
            table: *table,
        }),
        WriteInto::Files { .. } => None,
    }
}

/// What is to be done if a name is taken.
pub(crate) fn existing(keep: bool, replace: bool) -> OnExisting {
    match (keep, replace) {
        (_, true) => OnExisting::Replace,
        (true, false) => OnExisting::Keep,
        (false, false) => OnExisting::Refuse,
    }
}
