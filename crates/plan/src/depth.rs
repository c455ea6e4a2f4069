//! How deeply statements may nest.
//!
//! Much that handles a statement calls itself once for each level: clones and drops of its syntax,
//! the encoding of its plan, operators that ask each other for rows. A stack that overflows ends the
//! process, so threads that do this have [`STACK_BYTES`], and what is too deep for that is refused. The
//! parser bounds brackets only; it makes chains of operators, set operations and joins in a loop, as
//! deep as the chain is long.

use std::ops::ControlFlow;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::parser::{CopyToSource, Statement};
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, Query, SetExpr, TableFactor, TableWithJoins, Visit, Visitor,
};
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

/// What threads that plan statements or run plans need as their stack. It is address space, and takes
/// memory only where a deep statement uses it.
pub const STACK_BYTES: usize = 64 << 20;

/// Levels of one statement, its views included; each has more than 16 KiB of stack. What is known to
/// need most is the encoding of an expression, with 5 KiB.
const MOST: usize = 4_000;

/// A join, a set operation or another operator on rows takes as much as so many expressions.
const OPERATOR: usize = 3;

/// Texts up to this size are parsed as they are: what nests in them is dropped within a stack.
const SHORT: usize = 16 << 10;

/// Tokens of a long text that may make one chain; its syntax is dropped within a stack as well.
const LONGEST: usize = 32_000;

fn too_deep<T>() -> Result<T> {
    plan_err!(
        "the statement nests too deeply: at most {MOST} operators may apply to each other, and a \
         UNION or a JOIN counts as {OPERATOR}; use IN (…), VALUES or a table in place of long chains of \
         OR, + or UNION"
    )
}

/// Refuses a long text whose syntax might be too deep even to be looked at.
pub(crate) fn check_text(dialect: &dyn Dialect, sql: &str) -> Result<()> {
    if sql.len() <= SHORT {
        return Ok(());
    }
    // The parser says better what is wrong with a text that has no tokens.
    let Ok(tokens) = Tokenizer::new(dialect, sql).tokenize() else {
        return Ok(());
    };
    let mut chains = Chains::default();
    for token in &tokens {
        chains.add(token);
        if chains.length > LONGEST {
            return too_deep();
        }
    }
    Ok(())
}

/// The chains that the text is in, one for each bracket that is open.
#[derive(Default)]
struct Chains {
    outer: Vec<Chain>,
    inner: Chain,
    /// Of all of them.
    length: usize,
    empty_brackets: bool,
}

#[derive(Default)]
struct Chain {
    /// Tokens since the last comma: more than it has operators.
    tokens: usize,
    /// Set operations, which commas do not end.
    sets: usize,
}

impl Chains {
    fn add(&mut self, token: &Token) {
        let after_bracket = std::mem::take(&mut self.empty_brackets);
        match token {
            Token::Whitespace(_) => self.empty_brackets = after_bracket,
            Token::LParen | Token::LBracket | Token::LBrace => {
                self.outer.push(std::mem::take(&mut self.inner));
                self.empty_brackets = *token == Token::LBracket;
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                let outer = self.outer.pop().unwrap_or_default();
                let closed = std::mem::replace(&mut self.inner, outer);
                self.length -= closed.tokens + closed.sets;
                // A list of lists: every pair is a level of a type, whose levels are larger.
                self.count(if after_bracket { 64 } else { 1 });
            }
            Token::Comma => self.length -= std::mem::take(&mut self.inner.tokens),
            Token::Word(word) if is_set_operation(word.keyword) => {
                self.inner.sets += 1;
                self.length += 1;
            }
            Token::Word(word) if word.keyword == Keyword::EXPLAIN => self.count(8),
            // A comparison, or a type within a type.
            Token::Lt => self.count(4),
            _ => self.count(1),
        }
    }

    fn count(&mut self, tokens: usize) {
        self.inner.tokens += tokens;
        self.length += tokens;
    }
}

fn is_set_operation(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT | Keyword::MINUS
    )
}

/// Refuses a statement that is too deep to be planned.
pub(crate) fn check_statement(statement: &Statement) -> Result<()> {
    let mut depth = Depth::default();
    let found = match statement {
        Statement::Statement(statement) => statement.visit(&mut depth),
        Statement::CopyTo(copy) => match &copy.source {
            CopyToSource::Query(query) => query.visit(&mut depth),
            CopyToSource::Relation(_) => ControlFlow::Continue(()),
        },
        Statement::Explain(explain) => return check_statement(&explain.statement),
        Statement::CreateExternalTable(_) | Statement::Reset(_) => ControlFlow::Continue(()),
    };
    match found {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => too_deep(),
    }
}

/// Counts levels on the way down, and takes them back on the way up.
#[derive(Default)]
struct Depth {
    levels: usize,
    entered: Vec<usize>,
}

impl Depth {
    fn enter(&mut self, levels: usize) -> ControlFlow<()> {
        self.entered.push(levels);
        self.levels += levels;
        if self.levels > MOST {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn leave(&mut self) -> ControlFlow<()> {
        self.levels -= self.entered.pop().unwrap_or_default();
        ControlFlow::Continue(())
    }
}

impl Visitor for Depth {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.enter(OPERATOR * operators(&query.body))
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.leave()
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let joins = match factor {
            TableFactor::NestedJoin {
                table_with_joins, ..
            } => table_with_joins.joins.len(),
            _ => 0,
        };
        self.enter(OPERATOR * joins)
    }

    fn post_visit_table_factor(&mut self, _: &TableFactor) -> ControlFlow<()> {
        self.leave()
    }

    fn pre_visit_expr(&mut self, _: &SqlExpr) -> ControlFlow<()> {
        self.enter(1)
    }

    fn post_visit_expr(&mut self, _: &SqlExpr) -> ControlFlow<()> {
        self.leave()
    }
}

/// Set operations and joins of a query that lie above each other, those within brackets left out.
fn operators(body: &SetExpr) -> usize {
    let mut most = 0;
    let mut rest = vec![(body, 1)];
    while let Some((body, above)) = rest.pop() {
        let here = match body {
            SetExpr::SetOperation { left, right, .. } => {
                rest.extend([(left.as_ref(), above + 1), (right.as_ref(), above + 1)]);
                above
            }
            SetExpr::Select(select) => above + joined(&select.from),
            _ => above,
        };
        most = most.max(here);
    }
    most
}

fn joined(from: &[TableWithJoins]) -> usize {
    from.iter().map(|table| 1 + table.joins.len()).sum()
}

/// Refuses a plan that is too deep, be it by views and common table expressions that use each other.
pub(crate) fn check_plan(plan: &LogicalPlan) -> Result<()> {
    check_below(plan, 0)
}

fn check_below(plan: &LogicalPlan, above: usize) -> Result<()> {
    let mut rest = vec![(plan, above)];
    while let Some((plan, above)) = rest.pop() {
        let here = above + OPERATOR;
        if here > MOST {
            return too_deep();
        }
        plan.apply_expressions(|expr| {
            check_expr(expr, here)?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        rest.extend(plan.inputs().into_iter().map(|input| (input, here)));
    }
    Ok(())
}

fn check_expr(expr: &Expr, above: usize) -> Result<()> {
    if matches!(expr, Expr::Column(_) | Expr::Literal(..)) {
        return Ok(());
    }
    let mut rest = vec![(expr, above)];
    while let Some((expr, above)) = rest.pop() {
        let here = above + 1;
        if here > MOST {
            return too_deep();
        }
        let subquery = match expr {
            Expr::ScalarSubquery(subquery) => Some(subquery),
            Expr::Exists(exists) => Some(&exists.subquery),
            Expr::InSubquery(within) => Some(&within.subquery),
            Expr::SetComparison(compared) => Some(&compared.subquery),
            _ => None,
        };
        if let Some(subquery) = subquery {
            check_below(&subquery.subquery, here)?;
        }
        expr.apply_children(|child| {
            rest.push((child, here));
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    Ok(())
}
