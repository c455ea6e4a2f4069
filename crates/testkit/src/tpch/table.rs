use std::fmt;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator,
    PartSuppGenerator, RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow,
    SupplierArrow,
};

use super::Scale;

/// The rows of one file of a table, as they are generated.
pub(crate) type Rows = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>>>;

/// One of TPC-H's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// `customer`
    Customer,
    /// `lineitem`, by far the largest
    LineItem,
    /// `nation`, 25 rows
    Nation,
    /// `orders`
    Orders,
    /// `part`
    Part,
    /// `partsupp`
    PartSupp,
    /// `region`, 5 rows
    Region,
    /// `supplier`
    Supplier,
}

/// About how many rows go into one file.
const ROWS_PER_FILE: u64 = 800_000;
/// The large tables have at least so many files, so that scans of small scales divide as well.
const LEAST_FILES: u64 = 4;

impl Table {
    /// All eight, the largest first.
    pub const ALL: [Table; 8] = [
        Table::LineItem,
        Table::Orders,
        Table::PartSupp,
        Table::Part,
        Table::Customer,
        Table::Supplier,
        Table::Nation,
        Table::Region,
    ];

    /// Its name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Table::Customer => "customer",
            Table::LineItem => "lineitem",
            Table::Nation => "nation",
            Table::Orders => "orders",
            Table::Part => "part",
            Table::PartSupp => "partsupp",
            Table::Region => "region",
            Table::Supplier => "supplier",
        }
    }

    /// About how many rows it has; exact for all but `lineitem`, whose orders vary in length.
    pub fn rows(self, scale: Scale) -> u64 {
        match self {
            Table::Customer => scale.rows(150_000),
            Table::LineItem => scale.rows(6_001_215),
            Table::Nation => 25,
            Table::Orders => scale.rows(1_500_000),
            Table::Part => scale.rows(200_000),
            Table::PartSupp => scale.rows(800_000),
            Table::Region => 5,
            Table::Supplier => scale.rows(10_000),
        }
    }

    /// How many files it is written as: a matter of the scale alone, so that every machine has
    /// the same data.
    pub(crate) fn files(self, scale: Scale) -> u32 {
        let least = match self {
            Table::LineItem | Table::Orders | Table::PartSupp => LEAST_FILES,
            Table::Nation | Table::Region => return 1,
            Table::Customer | Table::Part | Table::Supplier => 1,
        };
        let by_rows = self.rows(scale).div_ceil(ROWS_PER_FILE);
        u32::try_from(by_rows.max(least)).unwrap_or(u32::MAX)
    }

    /// Its columns.
    pub(crate) fn schema(self) -> SchemaRef {
        match self {
            Table::Customer => CustomerArrow::schema_ref(),
            Table::LineItem => LineItemArrow::schema_ref(),
            Table::Nation => NationArrow::schema_ref(),
            Table::Orders => OrderArrow::schema_ref(),
            Table::Part => PartArrow::schema_ref(),
            Table::PartSupp => PartSuppArrow::schema_ref(),
            Table::Region => RegionArrow::schema_ref(),
            Table::Supplier => SupplierArrow::schema_ref(),
        }
    }

    /// Generates file `file` (from 1) of `files`.
    pub(crate) fn generate(self, scale: Scale, file: i32, files: i32) -> Rows {
        let sf = scale.factor();
        match self {
            Table::Customer => {
                Box::new(CustomerArrow::new(CustomerGenerator::new(sf, file, files)))
            }
            Table::LineItem => {
                Box::new(LineItemArrow::new(LineItemGenerator::new(sf, file, files)))
            }
            Table::Nation => Box::new(NationArrow::new(NationGenerator::new(sf, file, files))),
            Table::Orders => Box::new(OrderArrow::new(OrderGenerator::new(sf, file, files))),
            Table::Part => Box::new(PartArrow::new(PartGenerator::new(sf, file, files))),
            Table::PartSupp => {
                Box::new(PartSuppArrow::new(PartSuppGenerator::new(sf, file, files)))
            }
            Table::Region => Box::new(RegionArrow::new(RegionGenerator::new(sf, file, files))),
            Table::Supplier => {
                Box::new(SupplierArrow::new(SupplierGenerator::new(sf, file, files)))
            }
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
