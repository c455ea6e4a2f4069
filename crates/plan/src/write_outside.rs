//! Writes into files that are not the catalog's: what a statement means by its location and format.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::{DataFusionError, Result, not_impl_err, plan_err};
use datafusion::logical_expr::TableSource;
use datafusion::logical_expr::dml::CopyTo;
use url::Url;

use crate::catalog::Catalog;
use crate::encoder::{FileFormat, Kind};
use crate::new_table::columns_of;
use crate::statement::{check_location, is_secret};
use crate::write_files::FileWrite;
use crate::write_names::Names;
use crate::writing::{WriteInto, Writing};

/// An `INSERT` into an external table.
pub(crate) fn external(
    catalog: &Catalog,
    schema: &str,
    name: &str,
    target: &dyn TableSource,
) -> Result<(WriteInto, FileWrite)> {
    let Some(table) = catalog.external(schema, name) else {
        return plan_err!("'{schema}.{name}' is no table that rows can be inserted into");
    };
    if !table.partition_columns.is_empty() {
        return not_impl_err!(
            "'{schema}.{name}' is divided by {}: INSERT into such tables is not supported",
            table.partition_columns.join(", ")
        );
    }
    if !table.location.ends_with('/') || table.location.contains(',') {
        return plan_err!(
            "'{schema}.{name}' is not one folder: rows can be inserted where LOCATION ends in '/'"
        );
    }
    let location = url_of(&table.location)?;
    let format = format_of(&table.format, table.options.clone())?;
    let columns = columns_of(&target.schema(), false);
    format.validate(&columns)?;
    let write = FileWrite {
        location: location.clone(),
        names: Names::Repeatable,
        format,
        columns,
    };
    Ok((WriteInto::Files { location }, write))
}

/// A `COPY`.
pub(crate) fn copy_to(copy: &CopyTo) -> Result<Writing> {
    if !copy.partition_by.is_empty() {
        return not_impl_err!("COPY … PARTITIONED BY is not supported: leave it out");
    }
    if let Some(option) = copy.options.keys().find(|option| is_secret(option)) {
        return plan_err!(
            "option '{option}' would put a secret into the journal: give credentials to the \
             executors instead, by their environment or configuration"
        );
    }
    check_location(&copy.output_url)?;
    let location = url_of(&copy.output_url)?;
    let format = format_of(
        &copy.file_type.get_ext(),
        copy.options.clone().into_iter().collect(),
    )?;
    let columns = columns_of(copy.input.schema().inner(), true);
    format.validate(&columns)?;
    let last = location.rsplit('/').next().unwrap_or_default();
    // As in DataFusion, a name with an ending is that of a file.
    let (location, names) = match last {
        "" => (location, Names::Repeatable),
        last if last.contains('.') => (location, Names::Whole),
        _ => (format!("{location}/"), Names::Repeatable),
    };
    Ok(Writing {
        input: Arc::clone(&copy.input),
        into: WriteInto::Files {
            location: location.clone(),
        },
        write: FileWrite {
            location,
            names,
            format,
            columns,
        },
    })
}

fn format_of(name: &str, options: BTreeMap<String, String>) -> Result<FileFormat> {
    match Kind::parse(name.trim_start_matches('.')) {
        Some(kind) => Ok(FileFormat { kind, options }),
        None => not_impl_err!("{name} files are not written: use PARQUET, CSV, JSON or ARROW"),
    }
}

/// A location as a URL; a path is one of files.
fn url_of(location: &str) -> Result<String> {
    if location.starts_with('/') {
        let url = match location.ends_with('/') {
            true => Url::from_directory_path(location),
            false => Url::from_file_path(location),
        };
        return url
            .map(String::from)
            .map_err(|()| DataFusionError::Plan(format!("'{location}' is no absolute path")));
    }
    match Url::parse(location) {
        Ok(url) => Ok(url.into()),
        Err(error) => plan_err!("'{location}' is no location: {error}"),
    }
}
