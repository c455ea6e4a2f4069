use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use super::output::{self, Format};
use super::{block_on, say};
use crate::Failure;
use crate::client::Flight;

#[derive(Args)]
pub(crate) struct SqlArguments {
    /// The Flight SQL port of any scheduler, as host:port.
    #[arg(
        long,
        env = "PACELINE_FLIGHT",
        default_value = "127.0.0.1:50051",
        value_name = "ADDRESS"
    )]
    flight: String,
    /// What results are written as.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Statements, with ; between them.
    #[arg(short, long, value_name = "SQL", conflicts_with = "file")]
    command: Option<String>,
    /// A file with statements; without it and -c, the standard input.
    file: Option<PathBuf>,
}

/// Runs statements one after the other, and stops at the first that fails; but not where a person
/// types them.
pub(crate) fn sql(arguments: SqlArguments) -> Result<(), Failure> {
    block_on(async {
        let mut connection = Flight::connect(&arguments.flight).await?;
        let text = match (&arguments.command, &arguments.file) {
            (Some(text), _) => text.clone(),
            (None, Some(path)) => std::fs::read_to_string(path).map_err(Failure::while_doing(
                format!("cannot read {}", path.display()),
            ))?,
            (None, None) if io::stdin().is_terminal() => {
                return typed(&mut connection, arguments.format).await;
            }
            (None, None) => io::read_to_string(io::stdin())?,
        };
        let (mut statements, last) = split(&text);
        statements.extend(Some(last.trim()).filter(|last| says_something(last)));
        for statement in statements {
            run(&mut connection, statement, arguments.format, false).await?;
        }
        Ok(())
    })
}

async fn typed(connection: &mut Flight, format: Format) -> Result<(), Failure> {
    say("End a statement with ; and the session with Ctrl-D.")?;
    let mut pending = String::new();
    loop {
        let prompt = match pending.trim().is_empty() {
            true => "paceline> ",
            false => "      ... ",
        };
        let mut out = io::stdout().lock();
        out.write_all(prompt.as_bytes())?;
        out.flush()?;
        drop(out);
        let mut line = String::new();
        if io::stdin().lock().read_line(&mut line)? == 0 {
            return say("");
        }
        pending.push_str(&line);
        let (complete, rest) = split(&pending);
        let complete: Vec<String> = complete.into_iter().map(String::from).collect();
        pending = rest.to_string();
        for statement in complete {
            if let Err(failure) = run(connection, &statement, format, true).await {
                eprintln!("{failure}");
            }
        }
    }
}

async fn run(
    connection: &mut Flight,
    statement: &str,
    format: Format,
    timed: bool,
) -> Result<(), Failure> {
    let started = Instant::now();
    let answer = connection.run(statement).await?;
    let mut out = io::stdout().lock();
    output::write(format, &answer.schema, &answer.batches, &mut out)
        .map_err(Failure::while_doing("cannot write the result"))?;
    if timed {
        writeln!(out, "{:.3} s", started.elapsed().as_secs_f64())?;
    }
    Ok(())
}

/// The statements of a text, which `;` outside of quotes and comments divides, and what stands
/// behind the last `;`.
fn split(text: &str) -> (Vec<&str>, &str) {
    let mut statements = Vec::new();
    let mut rest = text;
    while let Some(end) = end_of_statement(rest) {
        let (statement, after) = rest.split_at(end);
        statements.push(statement.trim());
        rest = after.strip_prefix(';').unwrap_or(after);
    }
    statements.retain(|statement| says_something(statement));
    (statements, rest)
}

/// Whether there is more in a text than spaces and comments.
fn says_something(text: &str) -> bool {
    let mut rest = text.trim_start();
    loop {
        let comment = [("--", "\n"), ("/*", "*/")]
            .into_iter()
            .find_map(|(begin, end)| Some((rest.strip_prefix(begin)?, end)));
        match comment {
            None => return !rest.is_empty(),
            Some((within, end)) => match within.split_once(end) {
                // A line may end with the text; whoever left the other kind open is told so.
                None => return end == "*/",
                Some((_, after)) => rest = after.trim_start(),
            },
        }
    }
}

/// Where the first `;` stands that is neither quoted nor in a comment.
fn end_of_statement(text: &str) -> Option<usize> {
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let next = characters.peek().map(|&(_, next)| next);
        let inside = match (character, next) {
            (';', _) => return Some(at),
            ('\'', _) => "'",
            ('"', _) => "\"",
            ('-', Some('-')) => "\n",
            ('/', Some('*')) => "*/",
            _ => continue,
        };
        let opening = if inside == "\n" || inside == "*/" {
            2
        } else {
            1
        };
        // A doubled quote ends one text and begins the next, which comes to the same.
        let within = text.get(at + opening..)?;
        let end = at + opening + within.find(inside)? + inside.len();
        while characters.next_if(|&(at, _)| at < end).is_some() {}
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_alone_are_no_statement() {
        for nothing in ["", " \n", "-- a", "-- a\n /* b\n */ --"] {
            assert!(!says_something(nothing), "{nothing:?}");
        }
        for something in ["select 1", "-- a\nselect 1", "/* a */ x", "- 1", "/* open"] {
            assert!(says_something(something), "{something:?}");
        }
        assert_eq!(
            split("-- first\n; select 1; /* last */"),
            (vec!["select 1"], " /* last */")
        );
    }

    #[test]
    fn only_a_bare_semicolon_divides() {
        assert_eq!(
            split("select 1; select 2;"),
            (vec!["select 1", "select 2"], "")
        );
        assert_eq!(split(" ;; select 1"), (vec![], " select 1"));
        assert_eq!(
            split("select ';', \";\" ; x"),
            (vec!["select ';', \";\""], " x")
        );
        assert_eq!(split("select 'it''s;' ;"), (vec!["select 'it''s;'"], ""));
        assert_eq!(split("select 1 -- a; b\n;"), (vec!["select 1 -- a; b"], ""));
        assert_eq!(split("/* ; */ select 1;"), (vec!["/* ; */ select 1"], ""));
        assert_eq!(split("select 'ü;' ; é"), (vec!["select 'ü;'"], " é"));
        assert_eq!(split("select 'open ;"), (vec![], "select 'open ;"));
    }
}
