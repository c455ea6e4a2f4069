//! The SQL types, as `GetXdbcTypeInfo` tells.

use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder};
use arrow_flight::sql::{Nullable, Searchable, XdbcDataType};

/// A type's name, its code, the bits or characters or digits it has, and its literals' quote.
type Row = (
    &'static str,
    XdbcDataType,
    Option<i32>,
    Option<&'static str>,
);

const TYPES: [Row; 13] = [
    ("BOOLEAN", XdbcDataType::XdbcBit, Some(1), None),
    ("TINYINT", XdbcDataType::XdbcTinyint, Some(8), None),
    ("SMALLINT", XdbcDataType::XdbcSmallint, Some(16), None),
    ("INTEGER", XdbcDataType::XdbcInteger, Some(32), None),
    ("BIGINT", XdbcDataType::XdbcBigint, Some(64), None),
    ("REAL", XdbcDataType::XdbcReal, Some(24), None),
    ("DOUBLE", XdbcDataType::XdbcDouble, Some(53), None),
    ("DECIMAL", XdbcDataType::XdbcDecimal, Some(76), None),
    ("VARCHAR", XdbcDataType::XdbcVarchar, None, Some("'")),
    ("BYTEA", XdbcDataType::XdbcVarbinary, None, Some("'")),
    ("DATE", XdbcDataType::XdbcDate, Some(10), Some("'")),
    ("TIME", XdbcDataType::XdbcTime, Some(18), Some("'")),
    (
        "TIMESTAMP",
        XdbcDataType::XdbcTimestamp,
        Some(29),
        Some("'"),
    ),
];

pub(super) fn types() -> Result<XdbcTypeInfoData, FlightError> {
    let mut list = XdbcTypeInfoDataBuilder::new();
    for (name, code, size, quote) in TYPES {
        let numeric = !matches!(name, "BOOLEAN") && quote.is_none();
        list.append(XdbcTypeInfo {
            type_name: name.to_string(),
            data_type: code,
            column_size: size,
            literal_prefix: quote.map(str::to_string),
            literal_suffix: quote.map(str::to_string),
            create_params: None,
            nullable: Nullable::NullabilityNullable,
            case_sensitive: name == "VARCHAR",
            searchable: Searchable::Full,
            unsigned_attribute: numeric.then_some(false),
            fixed_prec_scale: false,
            auto_increment: numeric.then_some(false),
            local_type_name: Some(name.to_string()),
            minimum_scale: None,
            maximum_scale: None,
            sql_data_type: code,
            datetime_subcode: None,
            num_prec_radix: numeric.then_some(if name == "DECIMAL" { 10 } else { 2 }),
            interval_precision: None,
        });
    }
    list.build()
}
