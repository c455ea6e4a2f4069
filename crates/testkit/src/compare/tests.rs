use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray, StringViewArray,
};

use super::cell::close;
use super::*;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true)))
        .unwrap()
}

fn numbers(values: &[i64], floats: &[f64]) -> RecordBatch {
    batch(vec![
        ("k", Arc::new(Int64Array::from(values.to_vec()))),
        ("v", Arc::new(Float64Array::from(floats.to_vec()))),
    ])
}

fn check(expected: &RecordBatch, actual: &RecordBatch, order: &Order) -> Result<(), Difference> {
    compare(
        (&expected.schema(), std::slice::from_ref(expected)),
        (&actual.schema(), std::slice::from_ref(actual)),
        order,
    )
}

#[test]
fn order_counts_only_where_it_is_asked_for() {
    let (one, two) = (
        numbers(&[1, 2], &[0.5, 0.25]),
        numbers(&[2, 1], &[0.25, 0.5]),
    );
    assert_eq!(check(&one, &two, &Order::any()), Ok(()));
    let error = check(&one, &two, &Order::by([0])).unwrap_err();
    assert!(matches!(error, Difference::Order { row: 0, .. }), "{error}");
}

#[test]
fn rows_with_equal_keys_may_change_places() {
    let (one, two) = (
        numbers(&[1, 1], &[0.5, 0.25]),
        numbers(&[1, 1], &[0.25, 0.5]),
    );
    assert_eq!(check(&one, &two, &Order::by([0])), Ok(()));
}

#[test]
fn floats_may_differ_in_the_ninth_digit_and_no_more() {
    let one = numbers(&[1], &[1e6]);
    assert_eq!(
        check(&one, &numbers(&[1], &[1e6 + 5e-4]), &Order::any()),
        Ok(())
    );
    let error = check(&one, &numbers(&[1], &[1e6 + 5e-3]), &Order::any()).unwrap_err();
    assert!(matches!(error, Difference::Row { .. }), "{error}");
    assert!(close(f64::NAN, f64::NAN));
    assert!(!close(f64::INFINITY, f64::MAX));
    assert!(!close(0.0, 1e-300));
}

#[test]
fn close_floats_that_changed_places_still_find_their_partners() {
    let pair = |a: f64, b: f64, x: f64, y: f64| {
        batch(vec![
            ("a", Arc::new(Float64Array::from(vec![a, b]))),
            ("b", Arc::new(Float64Array::from(vec![x, y]))),
        ])
    };
    let one = pair(1.0, 1.0 + 1e-12, 5.0, 9.0);
    let two = pair(1.0 + 1e-12, 1.0, 5.0, 9.0);
    assert_eq!(check(&one, &two, &Order::any()), Ok(()));
    let other = pair(1.0 + 1e-12, 1.0, 5.0, 8.0);
    assert!(check(&one, &other, &Order::any()).is_err());
}

#[test]
fn a_duplicate_is_not_two_different_rows() {
    let (one, two) = (
        numbers(&[1, 1, 2], &[0.0; 3]),
        numbers(&[1, 2, 2], &[0.0; 3]),
    );
    assert!(check(&one, &two, &Order::any()).is_err());
    assert_eq!(
        check(&one, &numbers(&[1], &[0.0]), &Order::any()),
        Err(Difference::RowCount {
            expected: 3,
            actual: 1
        })
    );
}

#[test]
fn a_full_answer_may_have_cut_off_another_tie() {
    let cut = |limit| Order {
        keys: vec![0],
        limit: Some(limit),
    };
    let (one, two) = (numbers(&[1, 2], &[0.5, 7.0]), numbers(&[1, 2], &[0.5, 8.0]));
    assert_eq!(check(&one, &two, &cut(2)), Ok(()));
    // It was not full, so nothing was cut off.
    assert!(check(&one, &two, &cut(3)).is_err());
    // What stands before the ties must agree.
    let other = numbers(&[1, 2], &[0.75, 7.0]);
    assert!(check(&one, &other, &cut(2)).is_err());
}

#[test]
fn how_strings_are_laid_out_does_not_matter_but_types_do() {
    let plain = batch(vec![(
        "s",
        Arc::new(StringArray::from(vec![Some("a"), None])),
    )]);
    let view = batch(vec![(
        "s",
        Arc::new(StringViewArray::from(vec![Some("a"), None])),
    )]);
    assert_eq!(check(&plain, &view, &Order::any()), Ok(()));
    let null_word = batch(vec![("s", Arc::new(StringArray::from(vec!["a", ""])))]);
    assert!(check(&plain, &null_word, &Order::any()).is_err());

    let decimal = |scale| -> ArrayRef {
        Arc::new(
            Decimal128Array::from(vec![150])
                .with_precision_and_scale(15, scale)
                .unwrap(),
        )
    };
    let error = check(
        &batch(vec![("d", decimal(2))]),
        &batch(vec![("d", decimal(3))]),
        &Order::any(),
    );
    assert!(matches!(error, Err(Difference::Schema { column: 0, .. })));
    let renamed = batch(vec![(
        "t",
        Arc::new(StringArray::from(vec![Some("a"), None])),
    )]);
    assert!(matches!(
        check(&plain, &renamed, &Order::any()),
        Err(Difference::Schema { .. })
    ));
}

#[test]
fn an_answer_without_rows_still_has_columns() {
    let one = numbers(&[], &[]);
    assert_eq!(
        compare((&one.schema(), &[]), (&one.schema(), &[]), &Order::by([0])),
        Ok(())
    );
    let schema = one.schema().project(&[0]).unwrap();
    assert!(matches!(
        compare((&one.schema(), &[]), (&schema, &[]), &Order::any()),
        Err(Difference::Schema { column: 1, .. })
    ));
}

#[test]
fn an_answer_without_rows_or_with_nothing_but_null_and_zero_says_nothing() {
    let says = |batch: &RecordBatch, order: &Order| {
        says_something(std::slice::from_ref(batch), order).unwrap()
    };
    assert!(!says(&numbers(&[], &[]), &Order::any()));
    assert!(!says(&numbers(&[0, 0], &[0.0, -0.0]), &Order::any()));
    assert!(says(&numbers(&[0, 0], &[0.0, 0.5]), &Order::any()));
    assert!(says(&numbers(&[0, 7], &[0.0, 0.0]), &Order::any()));
    let zero = Decimal128Array::from(vec![Some(0), None]);
    let zero = zero.with_precision_and_scale(15, 2).unwrap();
    assert!(!says(&batch(vec![("d", Arc::new(zero))]), &Order::any()));
    let name = StringArray::from(vec![None, Some("a")]);
    assert!(says(&batch(vec![("s", Arc::new(name))]), &Order::any()));
}

#[test]
fn rows_that_a_limit_may_have_cut_off_say_nothing() {
    let cut = |keys: &[usize], limit| Order {
        keys: keys.to_vec(),
        limit: Some(limit),
    };
    let answer = numbers(&[1, 2, 2], &[0.5, 7.0, 8.0]);
    let says = |order: &Order| says_something(std::slice::from_ref(&answer), order).unwrap();
    assert!(says(&cut(&[0], 3)));
    // It orders by nothing that it shows, so any rows will do; unless there were not so many.
    assert!(!says(&cut(&[], 3)));
    assert!(says(&cut(&[], 4)));
}
