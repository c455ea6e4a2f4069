//! What becomes of a write, as journals hold it.

use paceline_model::TableId;
use paceline_plan::{ManagedDefinition, WriteInto, schema_from_ipc, schema_to_ipc};
use paceline_proto::Malformed;
use paceline_proto::state::write::Into;
use paceline_proto::state::{MoreRows, NewTable, Write};
use uuid::Uuid;

/// As an adopter needs it.
pub(crate) fn to_wire(into: &WriteInto) -> Write {
    let into = match into {
        WriteInto::Create {
            table,
            if_not_exists,
            or_replace,
        } => Into::Create(NewTable {
            schema: table.schema.clone(),
            name: table.name.clone(),
            id: table.id.0.as_bytes().to_vec().into(),
            location: table.location.clone(),
            definition: table.sql.clone(),
            columns: schema_to_ipc(&table.columns).into(),
            if_not_exists: *if_not_exists,
            or_replace: *or_replace,
        }),
        WriteInto::Append {
            schema,
            name,
            table,
            location,
        } => Into::Append(MoreRows {
            schema: schema.clone(),
            name: name.clone(),
            table: table.0.as_bytes().to_vec().into(),
            location: location.clone(),
        }),
        WriteInto::Files { location } => Into::Files(location.clone()),
    };
    Write { into: Some(into) }
}

/// Reads what [`to_wire`] wrote.
///
/// # Errors
/// [`Malformed`] if it is nothing that this version knows.
pub(crate) fn from_wire(write: Write) -> Result<WriteInto, Malformed> {
    let into = write.into.ok_or_else(|| Malformed::missing("into"))?;
    Ok(match into {
        Into::Create(table) => WriteInto::Create {
            if_not_exists: table.if_not_exists,
            or_replace: table.or_replace,
            table: ManagedDefinition {
                id: table_id(&table.id)?,
                columns: schema_from_ipc(&table.columns).map_err(|e| Malformed {
                    field: "columns",
                    problem: e.to_string(),
                })?,
                schema: table.schema,
                name: table.name,
                location: table.location,
                sql: table.definition,
                files: vec![],
            },
        },
        Into::Append(rows) => WriteInto::Append {
            table: table_id(&rows.table)?,
            schema: rows.schema,
            name: rows.name,
            location: rows.location,
        },
        Into::Files(location) => WriteInto::Files { location },
    })
}

/// Where the files of a write lie that [`from_wire`] cannot read. No entry will name them, so that is all
/// that has to be known; of one that does not even say that, the sweep finds them.
pub(crate) fn place_of(write: Write) -> WriteInto {
    let (schema, name, location) = match write.into {
        Some(Into::Create(table)) => (table.schema, table.name, table.location),
        Some(Into::Append(rows)) => (rows.schema, rows.name, rows.location),
        Some(Into::Files(location)) => return WriteInto::Files { location },
        None => Default::default(),
    };
    WriteInto::Append {
        table: TableId(Uuid::nil()),
        schema,
        name,
        location,
    }
}

fn table_id(bytes: &[u8]) -> Result<TableId, Malformed> {
    TableId::from_slice(bytes).map_err(|e| Malformed {
        field: "table id",
        problem: e.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    #[test]
    fn what_an_adopter_reads_is_what_was_accepted() {
        let id = TableId(Uuid::from_bytes([8; 16]));
        let columns = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let table = ManagedDefinition {
            schema: "public".into(),
            name: "t".into(),
            id,
            location: "file:///data/t/".into(),
            sql: "CREATE TABLE t AS SELECT 1 AS a".into(),
            columns,
            files: vec![],
        };
        let all = [
            WriteInto::Create {
                table,
                if_not_exists: true,
                or_replace: false,
            },
            WriteInto::Append {
                schema: "public".into(),
                name: "t".into(),
                table: id,
                location: "file:///data/t/".into(),
            },
            WriteInto::Files {
                location: "s3://b/x/".into(),
            },
        ];
        for into in all {
            assert_eq!(from_wire(to_wire(&into)).unwrap(), into);
        }
        assert!(from_wire(Write { into: None }).is_err());
    }
}
