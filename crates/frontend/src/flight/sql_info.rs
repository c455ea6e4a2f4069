//! What this server can do, as `GetSqlInfo` tells.

use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder};
use arrow_flight::sql::{
    SqlInfo, SqlNullOrdering, SqlSupportedCaseSensitivity, SqlSupportedTransaction,
};

/// The version of the Arrow format that results are written in.
const ARROW_FORMAT: &str = "1.5";

pub(super) fn abilities() -> Result<SqlInfoData, FlightError> {
    let mut list = SqlInfoDataBuilder::new();
    list.append(SqlInfo::FlightSqlServerName, "Paceline");
    list.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    list.append(SqlInfo::FlightSqlServerArrowVersion, ARROW_FORMAT);
    list.append(SqlInfo::FlightSqlServerReadOnly, false);
    list.append(SqlInfo::FlightSqlServerSql, true);
    list.append(SqlInfo::FlightSqlServerSubstrait, false);
    list.append(
        SqlInfo::FlightSqlServerTransaction,
        SqlSupportedTransaction::None as i32,
    );
    list.append(SqlInfo::FlightSqlServerCancel, true);
    list.append(SqlInfo::FlightSqlServerBulkIngestion, false);
    list.append(SqlInfo::SqlDdlCatalog, false);
    list.append(SqlInfo::SqlDdlSchema, true);
    list.append(SqlInfo::SqlDdlTable, true);
    list.append(
        SqlInfo::SqlIdentifierCase,
        SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i32,
    );
    list.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    list.append(
        SqlInfo::SqlQuotedIdentifierCase,
        SqlSupportedCaseSensitivity::SqlCaseSensitivityCaseInsensitive as i32,
    );
    list.append(SqlInfo::SqlAllTablesAreSelectable, true);
    list.append(
        SqlInfo::SqlNullOrdering,
        SqlNullOrdering::SqlNullsSortedHigh as i32,
    );
    list.append(SqlInfo::SqlSearchStringEscape, "\\");
    list.append(SqlInfo::SqlSupportsColumnAliasing, true);
    list.append(SqlInfo::SqlNullPlusNullIsNull, true);
    list.append(SqlInfo::SqlSupportsTableCorrelationNames, true);
    list.append(SqlInfo::SqlSupportsExpressionsInOrderBy, true);
    list.append(SqlInfo::SqlSupportsOrderByUnrelated, true);
    list.append(SqlInfo::SqlSchemaTerm, "schema");
    list.append(SqlInfo::SqlCatalogTerm, "catalog");
    list.append(SqlInfo::SqlCatalogAtStart, true);
    list.append(SqlInfo::SqlCorrelatedSubqueriesSupported, true);
    list.build()
}
