//! TPC-DS, made by `tpcds.py`: where it lies, and at which scale each of its 99 queries says something.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every query is asked at one of these. The larger one takes longer, so most are asked at the first.
pub(crate) const SCALES: [&str; 2] = ["0.1", "1"];

/// What the first scale has no rows for, or none but NULL and 0.
const LARGER: [&str; 26] = [
    "04", "08", "16", "24", "25", "29", "32", "37", "41", "44", "54", "58", "64", "65", "73", "82",
    "83", "85", "88", "90", "91", "92", "93", "94", "95", "96",
];

/// They order by what they do not show, so nobody can tell which rows their limit may cut off.
const UNLIMITED: [&str; 3] = ["47", "57", "89"];

/// The script that makes a directory of that scale.
pub(crate) fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plan/tests/tpcds.py")
}

/// Where tables and queries of that scale lie once they are made: in the target directory, or where
/// `PACELINE_TPCDS` says.
pub(crate) fn directory(scale: &str) -> PathBuf {
    let parent = std::env::var_os("PACELINE_TPCDS");
    let parent = parent.unwrap_or(env!("CARGO_TARGET_TMPDIR").into());
    Path::new(&parent).join(format!("tpcds-sf{scale}"))
}

/// The statements that make the tables known.
pub(crate) fn create_statements(directory: &Path) -> Vec<String> {
    let tables = fs::read_dir(directory.join("tables")).unwrap();
    let create = |table: fs::DirEntry| {
        let path = table.path();
        let name = path.file_name().unwrap().to_str().unwrap();
        format!(
            "CREATE EXTERNAL TABLE {name} STORED AS PARQUET LOCATION '{}/'",
            path.display()
        )
    };
    tables.map(|table| create(table.unwrap())).collect()
}

/// The texts of the queries that are asked at that scale, by number.
pub(crate) fn queries(directory: &Path, scale: &str) -> BTreeMap<String, String> {
    let files = fs::read_dir(directory.join("queries")).unwrap();
    let texts = files.map(|file| {
        let path = file.unwrap().path();
        let number = path.file_stem().unwrap().to_str().unwrap().to_string();
        let text = fs::read_to_string(path).unwrap();
        let text = text.trim().trim_end_matches(';');
        let text = match UNLIMITED.contains(&number.as_str()) {
            true => text.strip_suffix("LIMIT 100").unwrap(),
            false => text,
        };
        (number, text.to_string())
    });
    let here = |number: &str| LARGER.contains(&number) == (scale == SCALES[1]);
    texts.filter(|(number, _)| here(number)).collect()
}
