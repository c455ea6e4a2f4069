//! Catalogs, schemas and tables: questions that Flight SQL asks in commands of its own, put to the
//! engine as statements about its `information_schema`.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::sql::metadata::{GetCatalogsBuilder, GetDbSchemasBuilder, GetTablesBuilder};
use arrow_flight::sql::{Command, CommandGetCatalogs, CommandGetDbSchemas, CommandGetTables};
use futures::stream::{self, StreamExt, TryStreamExt};
use paceline_model::{ErrorClass, QueryError};

use super::{FlightSql, bug, command, unsupported, user};
use crate::service::{Origin, ResultStream, Statement};
use crate::session::SessionSettings;

/// What `information_schema.tables` calls them.
const TABLE_TYPES: [&str; 3] = ["BASE TABLE", "LOCAL TEMPORARY", "VIEW"];

/// How many codes or types one command may ask for.
const MAX_FILTERS: usize = 4096;

/// How many tables are described at a time.
const DESCRIBED_AT_ONCE: usize = 8;

impl FlightSql {
    /// The columns of the answer to a metadata command.
    pub(super) fn metadata_schema(&self, command: &Command) -> Result<SchemaRef, QueryError> {
        Ok(match command {
            Command::CommandGetCatalogs(_) => CommandGetCatalogs {}.into_builder().schema(),
            Command::CommandGetDbSchemas(asked) => asked.clone().into_builder().schema(),
            Command::CommandGetTables(asked) => asked.clone().into_builder().schema(),
            Command::CommandGetTableTypes(_) => table_types()?.schema(),
            Command::CommandGetSqlInfo(_) => self.abilities.schema(),
            Command::CommandGetXdbcTypeInfo(_) => self.types.schema(),
            Command::CommandGetPrimaryKeys(_) => primary_keys(),
            Command::CommandGetExportedKeys(_)
            | Command::CommandGetImportedKeys(_)
            | Command::CommandGetCrossReference(_) => foreign_keys(),
            other => {
                let name = command::name(other);
                return Err(unsupported(format!("a {name} cannot be asked for here")));
            }
        })
    }

    /// The answer to a metadata command.
    pub(super) async fn metadata_rows(
        &self,
        command: Command,
        session: SessionSettings,
    ) -> Result<ResultStream, QueryError> {
        let schema = self.metadata_schema(&command)?;
        check_filters(&command)?;
        let batch = match command {
            Command::CommandGetCatalogs(_) => self.catalogs(&session).await?,
            Command::CommandGetDbSchemas(asked) => self.schemas(asked, &session).await?,
            Command::CommandGetTables(asked) => self.tables(asked, &session).await?,
            Command::CommandGetTableTypes(_) => table_types()?,
            Command::CommandGetSqlInfo(asked) => {
                asked.into_builder(&self.abilities).build().map_err(bug)?
            }
            Command::CommandGetXdbcTypeInfo(asked) => {
                asked.into_builder(&self.types).build().map_err(bug)?
            }
            // There are no keys.
            _ => RecordBatch::new_empty(Arc::clone(&schema)),
        };
        Ok(ResultStream::of_batches(schema, vec![batch]))
    }

    async fn catalogs(&self, session: &SessionSettings) -> Result<RecordBatch, QueryError> {
        let sql = "SELECT DISTINCT catalog_name FROM information_schema.schemata";
        let mut builder = GetCatalogsBuilder::new();
        for [catalog] in self.names(sql.to_string(), session).await? {
            builder.append(catalog);
        }
        builder.build().map_err(bug)
    }

    async fn schemas(
        &self,
        asked: CommandGetDbSchemas,
        session: &SessionSettings,
    ) -> Result<RecordBatch, QueryError> {
        let sql = "SELECT catalog_name, schema_name FROM information_schema.schemata";
        let mut builder: GetDbSchemasBuilder = asked.into_builder();
        for [catalog, schema] in self.names(sql.to_string(), session).await? {
            builder.append(catalog, schema);
        }
        builder.build().map_err(bug)
    }

    async fn tables(
        &self,
        asked: CommandGetTables,
        session: &SessionSettings,
    ) -> Result<RecordBatch, QueryError> {
        let tables: Vec<[String; 4]> = self.names(tables_sql(&asked), session).await?;
        let mut builder: GetTablesBuilder = asked.into_builder();
        let describe = builder.include_schema();
        let described = stream::iter(tables)
            .map(|table| async {
                let schema = match describe {
                    true => self.table_schema(&table, session).await?,
                    false => Arc::new(Schema::empty()),
                };
                Ok::<_, QueryError>((table, schema))
            })
            .buffered(DESCRIBED_AT_ONCE);
        let mut described = std::pin::pin!(described);
        while let Some(([catalog, schema, name, kind], columns)) = described.try_next().await? {
            builder
                .append(catalog, schema, name, kind, &columns)
                .map_err(bug)?;
        }
        builder.build().map_err(bug)
    }

    /// The columns of one table. One that cannot be read now is listed without any, lest it hide
    /// all the others.
    async fn table_schema(
        &self,
        [catalog, schema, table, _]: &[String; 4],
        session: &SessionSettings,
    ) -> Result<SchemaRef, QueryError> {
        let name = [catalog, schema, table]
            .map(|part| quoted('"', part))
            .join(".");
        let sql = format!("SELECT * FROM {name}");
        let statement = Statement::new(sql, session.clone(), Origin::Metadata);
        match self.service.describe(statement).await {
            Ok(description) => Ok(description.schema),
            Err(error) if error.class == ErrorClass::Unavailable => Err(error),
            Err(error) => {
                tracing::debug!(%error, table = name, "cannot describe a table");
                Ok(Arc::new(Schema::empty()))
            }
        }
    }

    /// The rows of a statement whose columns are all text.
    async fn names<const N: usize>(
        &self,
        sql: String,
        session: &SessionSettings,
    ) -> Result<Vec<[String; N]>, QueryError> {
        let statement = Statement::new(sql, session.clone(), Origin::Metadata);
        let submitted = self.service.submit(statement).await?;
        let mut result = self.service.results(&submitted.ticket).await?;
        let mut rows = Vec::new();
        while let Some(batch) = result.batches.try_next().await? {
            let columns = text_columns::<N>(&batch)?;
            for row in 0..batch.num_rows() {
                rows.push(columns.each_ref().map(|column| value(column, row)));
            }
        }
        Ok(rows)
    }
}

/// Refuses lists of filters that would cost more than their answer.
fn check_filters(command: &Command) -> Result<(), QueryError> {
    let filters = match command {
        Command::CommandGetSqlInfo(asked) => asked.info.len(),
        Command::CommandGetTables(asked) => asked.table_types.len(),
        _ => 0,
    };
    if filters > MAX_FILTERS {
        return Err(user(format!(
            "{filters} filters were given, and at most {MAX_FILTERS} are taken; leave them out to \
             get everything"
        )));
    }
    Ok(())
}

fn text_columns<const N: usize>(batch: &RecordBatch) -> Result<[StringArray; N], QueryError> {
    let columns: Vec<StringArray> = batch
        .columns()
        .iter()
        .map(|column| Ok(cast(column, &DataType::Utf8)?.as_string::<i32>().clone()))
        .collect::<Result<_, arrow::error::ArrowError>>()
        .map_err(bug)?;
    columns
        .try_into()
        .map_err(|_| bug(format!("information_schema answered without {N} columns")))
}

fn value(column: &StringArray, row: usize) -> String {
    match column.is_null(row) {
        true => String::new(),
        false => column.value(row).to_string(),
    }
}

/// Narrows the tables down before they are described; the answer's builder does it again.
fn tables_sql(asked: &CommandGetTables) -> String {
    let mut conditions = Vec::new();
    if let Some(catalog) = &asked.catalog {
        conditions.push(format!("table_catalog = {}", quoted('\'', catalog)));
    }
    if let Some(pattern) = &asked.db_schema_filter_pattern {
        conditions.push(format!("table_schema LIKE {}", quoted('\'', pattern)));
    }
    if let Some(pattern) = &asked.table_name_filter_pattern {
        conditions.push(format!("table_name LIKE {}", quoted('\'', pattern)));
    }
    let columns = "table_catalog, table_schema, table_name, table_type";
    let mut sql = format!("SELECT {columns} FROM information_schema.tables");
    if !conditions.is_empty() {
        sql = format!("{sql} WHERE {}", conditions.join(" AND "));
    }
    sql
}

fn quoted(quote: char, text: &str) -> String {
    let inner = text.replace(quote, &format!("{quote}{quote}"));
    format!("{quote}{inner}{quote}")
}

fn table_types() -> Result<RecordBatch, QueryError> {
    let types = Arc::new(StringArray::from_iter_values(TABLE_TYPES));
    let field = Field::new("table_type", DataType::Utf8, false);
    RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![types]).map_err(bug)
}

fn text(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Utf8, nullable)
}

fn primary_keys() -> SchemaRef {
    Arc::new(Schema::new(vec![
        text("catalog_name", true),
        text("db_schema_name", true),
        text("table_name", false),
        text("column_name", false),
        Field::new("key_sequence", DataType::Int32, false),
        text("key_name", true),
    ]))
}

fn foreign_keys() -> SchemaRef {
    Arc::new(Schema::new(vec![
        text("pk_catalog_name", true),
        text("pk_db_schema_name", true),
        text("pk_table_name", false),
        text("pk_column_name", false),
        text("fk_catalog_name", true),
        text("fk_db_schema_name", true),
        text("fk_table_name", false),
        text("fk_column_name", false),
        Field::new("key_sequence", DataType::Int32, false),
        text("fk_key_name", true),
        text("pk_key_name", true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ]))
}

#[cfg(test)]
mod tests {
    use arrow_flight::sql::CommandGetSqlInfo;

    use super::*;

    #[test]
    fn endless_filters_are_refused() {
        let asked = |count| {
            Command::CommandGetSqlInfo(CommandGetSqlInfo {
                info: vec![1; count],
            })
        };
        assert!(check_filters(&asked(MAX_FILTERS)).is_ok());
        assert!(check_filters(&asked(MAX_FILTERS + 1)).is_err());
    }

    #[test]
    fn names_cannot_leave_their_quotes() {
        let asked = CommandGetTables {
            catalog: Some("o'hara".to_string()),
            table_name_filter_pattern: Some("line%".to_string()),
            ..CommandGetTables::default()
        };
        let sql = tables_sql(&asked);
        let condition = "WHERE table_catalog = 'o''hara' AND table_name LIKE 'line%'";
        assert!(sql.ends_with(condition), "{sql}");
        assert_eq!(quoted('"', r#"a"b"#), r#""a""b""#);
    }
}
