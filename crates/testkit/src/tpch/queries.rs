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

    /// Those of the specification, section 2.4, "Query Validation". What the comment above a text says
    /// of itself does not count.
    #[test]
    fn the_texts_have_the_validation_parameters() {
        let parameters: [(usize, &[&str]); 22] = [
            (1, &["interval '90' day"]),
            (2, &["p_size = 15", "'%BRASS'", "'EUROPE'"]),
            (
                3,
                &["'BUILDING'", "< date '1995-03-15'", "> date '1995-03-15'"],
            ),
            (4, &[">= date '1993-07-01'"]),
            (5, &["'ASIA'", ">= date '1994-01-01'"]),
            (
                6,
                &[">= date '1994-01-01'", "0.06 - 0.01", "l_quantity < 24"],
            ),
            (7, &["'FRANCE'", "'GERMANY'"]),
            (8, &["'BRAZIL'", "'AMERICA'", "'ECONOMY ANODIZED STEEL'"]),
            (9, &["'%green%'"]),
            (10, &[">= date '1993-10-01'"]),
            (11, &["'GERMANY'"]),
            (12, &["('MAIL', 'SHIP')", ">= date '1994-01-01'"]),
            (13, &["'%special%requests%'"]),
            (14, &[">= date '1995-09-01'"]),
            (15, &[">= date '1996-01-01'"]),
            (
                16,
                &[
                    "'Brand#45'",
                    "'MEDIUM POLISHED%'",
                    "(49, 14, 23, 45, 19, 3, 36, 9)",
                ],
            ),
            (17, &["'Brand#23'", "'MED BOX'"]),
            (18, &["> 300"]),
            (19, &["'Brand#12'", "'Brand#23'", "'Brand#34'", "20 + 10"]),
            (20, &["'forest%'", ">= date '1994-01-01'", "'CANADA'"]),
            (21, &["'SAUDI ARABIA'"]),
            (22, &["('13', '31', '23', '29', '30', '18', '17')"]),
        ];
        for (query, (number, parameters)) in tpch_queries().iter().zip(parameters) {
            assert_eq!(usize::from(query.number()), number);
            let sql = query.sql(Scale::new(1.0).unwrap());
            let lines = sql.lines().filter(|line| !line.starts_with("--"));
            let text = lines.collect::<Vec<_>>().join("\n");
            for parameter in parameters {
                assert!(text.contains(parameter), "{query}: no {parameter}");
            }
        }
    }

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
