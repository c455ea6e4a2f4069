//! Shows a configuration: as the TOML that would lead to it, and as a page of the manual.

use std::fmt::Write;

use super::section::Section;
use super::{Configuration, Role};

fn sections(configuration: &Configuration, role: Option<Role>) -> Vec<&dyn Section> {
    configuration
        .sections()
        .into_iter()
        .filter(|section| role.is_none_or(|role| role.sections().contains(&section.name())))
        .collect()
}

/// The options of a role, or all of them, as TOML with comments. Secrets are masked.
pub fn toml(configuration: &Configuration, role: Option<Role>) -> String {
    let mut out = String::new();
    for section in sections(configuration, role) {
        comment(&mut out, section.doc());
        let _ = writeln!(out, "[{}]", section.name());
        for field in section.fields() {
            comment(&mut out, field.doc);
            if let Some(value) = section.get(field.name) {
                let _ = writeln!(out, "{} = {value}", field.name);
            }
        }
        out.push('\n');
    }
    for table in &configuration.tables {
        let _ = writeln!(out, "[[tables]]");
        let rows = [
            ("name", &table.name),
            ("format", &table.format),
            ("location", &table.location),
        ];
        for (key, text) in rows {
            let _ = writeln!(out, "{key} = {}", toml::Value::String(text.clone()));
        }
        let options = super::Setting::to_toml(&table.options);
        let _ = writeln!(out, "options = {options}\n");
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn comment(out: &mut String, doc: &str) {
    for line in doc.trim_end().lines() {
        let _ = writeln!(out, "# {}", line.trim());
    }
}

/// `docs/configuration.md`.
pub fn markdown() -> String {
    let defaults = Configuration::default();
    let mut out = String::from(HEAD);
    for section in sections(&defaults, None) {
        let roles = [
            (Role::Scheduler, "scheduler"),
            (Role::Executor, "executor"),
            (Role::Standalone, "standalone"),
        ];
        let readers: Vec<&str> = roles
            .iter()
            .filter(|(role, _)| role.sections().contains(&section.name()))
            .map(|&(_, name)| name)
            .collect();
        let _ = write!(
            out,
            "\n## `[{}]`\n\n{}\n\nRead by: {}.\n\n| option | default | what it does |\n|---|---|---|\n",
            section.name(),
            one_line(section.doc()),
            readers.join(", ")
        );
        for field in section.fields() {
            let default = section
                .get(field.name)
                .map_or(String::new(), |v| v.to_string());
            let _ = writeln!(
                out,
                "| `{}` | `{default}` | {} It is {}. |",
                field.name,
                one_line(field.doc),
                field.kind,
            );
        }
    }
    out.push_str(TABLES);
    out
}

fn one_line(doc: &str) -> String {
    let lines: Vec<&str> = doc.lines().map(str::trim).collect();
    lines.join(" ").trim().to_string()
}

const HEAD: &str = "\
# Configuration

<!-- Made by `paceline config --markdown`. A test fails when this page is not what it prints. -->

Every option has a default. A TOML file (`--config FILE`, or `PACELINE_CONFIG`) overrides it, the
environment overrides the file, and a flag overrides all:

```
[scheduler]                                       # in the file
small_plan_bytes = \"64MiB\"

PACELINE_SCHEDULER_SMALL_PLAN_BYTES=64MiB         # in the environment
--scheduler-small-plan-bytes 64MiB                # as a flag
```

One file can serve a whole cluster: each process reads its own sections and accepts the others. A
key that means nothing is refused, with the file and the key that was probably meant. `paceline
config` prints what a process would use, as such a file; values that may be secrets show as `***`.
";

const TABLES: &str = "
## `[[tables]]`

Tables that exist from the start. Read by: scheduler, standalone. An entry replaces a table of the
same name.

| key | what it is |
|---|---|
| `name` | `table` or `schema.table` |
| `format` | `parquet`, `csv`, `json` or `arrow` |
| `location` | a file, or a directory of files, which ends in `/`; on `file://` or `s3://` |
| `options` | how the files are read, as in the OPTIONS of CREATE EXTERNAL TABLE; how their store is reached, `[storage]` says |

```
[[tables]]
name = \"orders\"
format = \"parquet\"
location = \"s3://bucket/orders/\"

[[tables]]
name = \"returns\"
format = \"csv\"
location = \"s3://bucket/returns/\"
options = { \"format.delimiter\" = \";\" }
```
";
