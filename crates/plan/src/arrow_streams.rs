//! Scans of Arrow IPC streams. DataFusion tells them from scans of Arrow files by looking into a
//! file when it plans, and encodes both as scans of files; here they stay what they are.

use std::any::Any;
use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::{Result, internal_err};
use datafusion::datasource::physical_plan::{
    ArrowSource, FileScanConfig, FileScanConfigBuilder, FileSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion_proto::physical_plan::from_proto::parse_physical_expr_with_converter;
use datafusion_proto::physical_plan::to_proto::serialize_physical_expr_with_converter;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalPlanNodeExt,
    PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::physical_plan_node::PhysicalPlanType;
use datafusion_proto::protobuf::{PhysicalExprNode, PhysicalExtensionNode, PhysicalPlanNode};

use crate::exchange_write::ExchangeWriteExec;

/// Encodes as DataFusion does, but for scans of streams: those become the scan of files that
/// DataFusion would make of them, inside a node whose bytes are `stream_scan`.
pub(crate) struct StageConverter {
    pub(crate) stream_scan: Vec<u8>,
}

impl PhysicalProtoConverterExtension for StageConverter {
    fn proto_to_execution_plan(
        &self,
        proto: &PhysicalPlanNode,
        context: &PhysicalPlanDecodeContext<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        proto.try_into_physical_plan_with_context(context, self)
    }

    fn execution_plan_to_proto(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        codec: &dyn PhysicalExtensionCodec,
    ) -> Result<PhysicalPlanNode> {
        let encode = |plan: &Arc<dyn ExecutionPlan>| {
            PhysicalPlanNode::try_from_physical_plan_with_converter(Arc::clone(plan), codec, self)
        };
        match files(plan).filter(|files| files.file_source().file_type() == "arrow_stream") {
            // DataFusion does not ask again for what is directly below an operator of ours.
            None if is_ours(plan) => {
                let mut node = Vec::new();
                codec.try_encode(Arc::clone(plan), &mut node, self)?;
                let inputs = plan.children().into_iter();
                let inputs = inputs.map(|input| self.execution_plan_to_proto(input, codec));
                Ok(extension(node, inputs.collect::<Result<_>>()?))
            }
            None => encode(plan),
            Some(streams) => {
                let schema = streams.file_source().table_schema().clone();
                let files = scan(streams, Arc::new(ArrowSource::new_file_source(schema)))?;
                let inputs = vec![encode(&files)?];
                Ok(extension(self.stream_scan.clone(), inputs))
            }
        }
    }

    fn proto_to_physical_expr(
        &self,
        proto: &PhysicalExprNode,
        input_schema: &Schema,
        context: &PhysicalPlanDecodeContext<'_>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        parse_physical_expr_with_converter(proto, input_schema, context, self)
    }

    fn physical_expr_to_proto(
        &self,
        expr: &Arc<dyn PhysicalExpr>,
        codec: &dyn PhysicalExtensionCodec,
    ) -> Result<PhysicalExprNode> {
        serialize_physical_expr_with_converter(expr, codec, self)
    }
}

fn is_ours(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<ExchangeWriteExec>() || plan.is::<RecursiveQueryExec>()
}

fn extension(node: Vec<u8>, inputs: Vec<PhysicalPlanNode>) -> PhysicalPlanNode {
    let node = PhysicalExtensionNode { node, inputs };
    PhysicalPlanNode {
        physical_plan_type: Some(PhysicalPlanType::Extension(node)),
    }
}

/// Makes a scan of streams of what was decoded as a scan of files.
pub(crate) fn as_streams(plan: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(files) = files(plan) else {
        return internal_err!("{} is no scan of files", plan.name());
    };
    let schema = files.file_source().table_schema().clone();
    scan(files, Arc::new(ArrowSource::new_stream_file_source(schema)))
}

fn files(plan: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    let scan = plan.downcast_ref::<DataSourceExec>()?;
    let source: &dyn Any = scan.data_source().as_ref();
    source.downcast_ref::<FileScanConfig>()
}

/// The same scan with another source.
fn scan(files: &FileScanConfig, mut source: Arc<dyn FileSource>) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(projection) = files.file_source().projection()
        && let Some(projected) = source.try_pushdown_projection(projection)?
    {
        source = projected;
    }
    let files = FileScanConfigBuilder::from(files.clone());
    Ok(DataSourceExec::from_data_source(
        files.with_source(source).build(),
    ))
}
