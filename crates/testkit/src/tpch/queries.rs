use std::fmt;

use super::Scale;
use crate::Order;

/// One of TPC-H's 22 queries, with the validation parameters of the specification.
#[derive(Debug, Clone, Copy)]
pub struct Query {
    number: u8,
    text: &'static str,
    order: &'static [usize],
    limit: Option<usize>,
}

impl Query {
    /// Its number, 1 to 22.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// The statement for data of that scale. Only Q11 has a parameter that depends on it.
    pub fn sql(&self, scale: Scale) -> String {
        let fraction = 0.0001 / scale.factor();
        self.text
            .trim_end()
            .trim_end_matches(';')
            .replace(":fraction", &fraction.to_string())
    }

    /// What the query fixes about the order of its rows.
    pub fn order(&self) -> Order {
        Order {
            keys: self.order.to_vec(),
            limit: self.limit,
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Q{:02}", self.number)
    }
}

macro_rules! query {
    ($number:literal, $file:literal, by $order:expr) => {
        query!($number, $file, by $order, cut None)
    };
    ($number:literal, $file:literal, by $order:expr, limit $limit:literal) => {
        query!($number, $file, by $order, cut Some($limit))
    };
    ($number:literal, $file:literal, by $order:expr, cut $limit:expr) => {
        Query {
            number: $number,
            text: include_str!(concat!("../../queries/tpch/", $file, ".sql")),
            order: &$order,
            limit: $limit,
        }
    };
}

/// The 22 queries in order. Behind `by` stand the output columns that the query orders by.
pub fn tpch_queries() -> [Query; 22] {
    [
        query!(1, "q01", by [0, 1]),
        query!(2, "q02", by [0, 2, 1, 3], limit 100),
        query!(3, "q03", by [1, 2], limit 10),
        query!(4, "q04", by[0]),
        query!(5, "q05", by[1]),
        query!(6, "q06", by []),
        query!(7, "q07", by [0, 1, 2]),
        query!(8, "q08", by[0]),
        query!(9, "q09", by [0, 1]),
        query!(10, "q10", by [2], limit 20),
        query!(11, "q11", by[1]),
        query!(12, "q12", by[0]),
        query!(13, "q13", by [1, 0]),
        query!(14, "q14", by []),
        query!(15, "q15", by[0]),
        query!(16, "q16", by [3, 0, 1, 2]),
        query!(17, "q17", by []),
        query!(18, "q18", by [4, 3], limit 100),
        query!(19, "q19", by []),
        query!(20, "q20", by[0]),
        query!(21, "q21", by [1, 0], limit 100),
        query!(22, "q22", by[0]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queries_are_numbered_and_complete() {
        for (index, query) in tpch_queries().iter().enumerate() {
            assert_eq!(usize::from(query.number()), index + 1);
            let sql = query.sql(Scale::new(0.1).unwrap());
            assert!(sql.contains(&format!("-- Q{}: ", index + 1)), "{query}");
            assert!(!sql.contains(':') || !sql.contains(":fraction"), "{query}");
            assert!(!sql.ends_with(';'));
            assert_eq!(
                query.order().limit.is_some(),
                sql.contains("\nlimit "),
                "{query}"
            );
            assert_eq!(
                query.order().keys.is_empty(),
                !sql.contains("\norder by"),
                "{query}"
            );
        }
        let q11 = tpch_queries()[10].sql(Scale::new(0.1).unwrap());
        assert!(q11.contains("* 0.001"), "{q11}");
    }
}
