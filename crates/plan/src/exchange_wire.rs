//! Reads of exchanges as bytes.

use std::sync::Arc;

use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::protobuf::PhysicalExprNode;
use paceline_model::{PartitionRange, StageId};
use prost::Message;

use crate::catalog::{schema_from_ipc, schema_to_ipc};
use crate::codec::checked_range;
use crate::exchange_read::{ExchangeReadExec, Reads, RowProperties};

/// The wire form of an [`ExchangeReadExec`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Read {
    #[prost(uint32, tag = "1")]
    stage: u32,
    #[prost(bytes = "vec", tag = "2")]
    schema: Vec<u8>,
    #[prost(bool, tag = "3")]
    whole: bool,
    #[prost(uint32, tag = "4")]
    first: u32,
    #[prost(uint32, tag = "5")]
    count: u32,
    #[prost(message, repeated, tag = "6")]
    hash: Vec<PhysicalExprNode>,
    #[prost(message, repeated, tag = "7")]
    orderings: Vec<Ordering>,
    #[prost(message, repeated, tag = "8")]
    constants: Vec<PhysicalExprNode>,
    /// Pairs, one after the other.
    #[prost(message, repeated, tag = "9")]
    equal: Vec<PhysicalExprNode>,
}

#[derive(Clone, PartialEq, Message)]
struct Ordering {
    #[prost(message, repeated, tag = "1")]
    exprs: Vec<SortExpr>,
}

#[derive(Clone, PartialEq, Message)]
struct SortExpr {
    #[prost(message, optional, tag = "1")]
    expr: Option<PhysicalExprNode>,
    #[prost(bool, tag = "2")]
    descending: bool,
    #[prost(bool, tag = "3")]
    nulls_first: bool,
}

pub(crate) type Encode<'a> = &'a dyn Fn(&Arc<dyn PhysicalExpr>) -> Result<PhysicalExprNode>;
pub(crate) type Decode<'a> = &'a dyn Fn(&PhysicalExprNode) -> Result<Arc<dyn PhysicalExpr>>;

impl Read {
    pub(crate) fn from_operator(read: &ExchangeReadExec, encode: Encode<'_>) -> Result<Self> {
        let (whole, range) = match read.reads() {
            Reads::Whole => (true, PartitionRange::new(0, 1)),
            Reads::Range(range) => (false, range),
        };
        let rows = read.rows();
        let mut equal = Vec::with_capacity(rows.equal.len() * 2);
        for (left, right) in &rows.equal {
            equal.push(encode(left)?);
            equal.push(encode(right)?);
        }
        let ordering = |ordering: &LexOrdering| -> Result<Ordering> {
            let exprs = ordering.iter().map(|sort| {
                Ok(SortExpr {
                    expr: Some(encode(&sort.expr)?),
                    descending: sort.options.descending,
                    nulls_first: sort.options.nulls_first,
                })
            });
            Ok(Ordering {
                exprs: exprs.collect::<Result<_>>()?,
            })
        };
        Ok(Read {
            stage: read.stage().0,
            schema: schema_to_ipc(&read.schema()),
            whole,
            first: range.first,
            count: range.count,
            hash: read.hash().iter().map(encode).collect::<Result<_>>()?,
            orderings: rows.orderings.iter().map(ordering).collect::<Result<_>>()?,
            constants: rows.constants.iter().map(encode).collect::<Result<_>>()?,
            equal,
        })
    }

    /// Of the rows that are read; expressions are over it.
    pub(crate) fn schema(&self) -> Result<SchemaRef> {
        schema_from_ipc(&self.schema)
    }

    pub(crate) fn into_operator(
        self,
        decode: Decode<'_>,
        schema: SchemaRef,
    ) -> Result<ExchangeReadExec> {
        let sort = |sort: &SortExpr| -> Result<PhysicalSortExpr> {
            let expr = sort
                .expr
                .as_ref()
                .ok_or_else(|| internal_datafusion_err!("an order without an expression"))?;
            Ok(PhysicalSortExpr {
                expr: decode(expr)?,
                options: SortOptions {
                    descending: sort.descending,
                    nulls_first: sort.nulls_first,
                },
            })
        };
        let mut orderings = Vec::with_capacity(self.orderings.len());
        for ordering in &self.orderings {
            let exprs: Vec<_> = ordering.exprs.iter().map(sort).collect::<Result<_>>()?;
            orderings.extend(LexOrdering::new(exprs));
        }
        let mut equal = Vec::with_capacity(self.equal.len() / 2);
        for pair in self.equal.chunks_exact(2) {
            equal.push((decode(&pair[0])?, decode(&pair[1])?));
        }
        let reads = if self.whole {
            Reads::Whole
        } else {
            Reads::Range(checked_range(self.first, self.count)?)
        };
        ExchangeReadExec::try_new(
            StageId(self.stage),
            schema,
            reads,
            self.hash.iter().map(decode).collect::<Result<_>>()?,
            RowProperties {
                orderings,
                constants: self.constants.iter().map(decode).collect::<Result<_>>()?,
                equal,
            },
        )
    }
}
