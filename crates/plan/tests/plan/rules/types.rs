//! Columns of every type, through every exchange.

use super::check_all;
use crate::support::{fixture, with_serving_stack};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nested_dictionary_and_decimal_columns() {
    let session = fixture().await;
    check_all(
        &session,
        &[
            "SELECT * FROM many",
            "SELECT * FROM many ORDER BY id DESC LIMIT 20",
            "SELECT m.*, f.arr, f.st, f.dict, f.d FROM many m JOIN few f ON m.k = f.k",
            "SELECT f.*, m.arr, m.st FROM few f LEFT JOIN many m ON m.id = f.id * 40",
            "SELECT arr, count(*) FROM many GROUP BY arr",
            "SELECT st, count(*), max(dict) FROM many GROUP BY st",
            "SELECT DISTINCT st, dict FROM many",
            "SELECT a.id FROM many a JOIN few b ON a.dict = b.dict AND a.d = b.d",
            "SELECT a.id FROM many a JOIN few b ON a.st = b.st AND a.id = b.id",
            "SELECT st['a'], arr[1], cardinality(arr) FROM many WHERE st['b'] = 'b2'",
            "SELECT d, d * 3, d / 7, CAST(d AS DECIMAL(30, 2)) AS e FROM many ORDER BY d LIMIT 50",
            "SELECT sum(d), avg(d), min(d), max(d) FROM many",
            "SELECT day, at, date_trunc('month', day), extract(year FROM at) FROM many WHERE day > date '1996-01-01'",
            "SELECT array_agg(st ORDER BY id), array_agg(arr ORDER BY id) FROM few GROUP BY k",
            "SELECT k, map(make_array(k), make_array(s)) FROM few",
        ],
    )
    .await;
}

/// The order of expressions and functions survives the way to the executor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expressions() {
    let session = fixture().await;
    check_all(
        &session,
        &[
            "SELECT CASE WHEN n IS NULL THEN 'none' WHEN n < 5 THEN 'low' ELSE 'high' END AS c, count(*) FROM many GROUP BY 1",
            "SELECT CASE k WHEN 1 THEN 'a' WHEN 2 THEN 'b' END, id FROM many WHERE k IN (1, 2, 3, NULL) OR s LIKE '%3' OR s ILIKE 'NAME 4'",
            "SELECT regexp_replace(s, 'n(.)me', '\\1'), upper(s), substr(s, 2, 3), s || n, length(s) FROM many",
            "SELECT id FROM many WHERE s ~ '[25]$' AND NOT (n BETWEEN 3 AND 9) AND id NOT IN (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)",
            "SELECT TRY_CAST(s AS INT), CAST(id AS VARCHAR), arrow_cast(f, 'Float32'), -n, NOT even, n IS NULL FROM many",
            "SELECT coalesce(n, -1), nullif(k, 3), greatest(k, n), day + INTERVAL '1 month 2 days', at - INTERVAL '3' HOUR FROM many",
            "SELECT now() > timestamp '2020-01-01', current_date > date '2020-01-01' FROM few",
            "SELECT arrow_typeof(dict), arrow_typeof(d), arrow_typeof(st) FROM single",
        ],
    )
    .await;
}

/// Far more operators within each other than there may be messages.
#[test]
fn deep_expressions() {
    with_serving_stack(|| async {
        let session = fixture().await;
        let sum: String = (0..200).map(|n| [" - k", " + n"][n % 2]).collect();
        let cases: String = (0..20).map(|n| format!("nullif({n} + ")).collect();
        let cases = format!("{cases}id{}", ", 7)".repeat(20));
        check_all(
            &session,
            &[
                format!("SELECT sum(id{sum}) FROM few"),
                format!("SELECT id FROM few WHERE id{sum} > k ORDER BY id{sum}, id"),
                format!("SELECT k, count(*) FROM few GROUP BY k, id{sum}"),
                format!("SELECT {cases} FROM few"),
            ],
        )
        .await;
    });
}
