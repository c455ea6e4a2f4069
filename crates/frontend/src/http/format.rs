//! Which format a client wants: the `Accept` header, with its weights.

use axum::http::{HeaderMap, StatusCode, header};

use super::failure::Failure;

/// A format that results are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// One array of objects.
    Json,
    /// An object a line.
    JsonLines,
    /// With a line of column names.
    Csv,
    /// The Arrow IPC streaming format.
    Arrow,
    /// A Parquet file.
    Parquet,
}

impl Format {
    /// In order of preference where a client has none.
    const ALL: [Format; 5] = [
        Format::Json,
        Format::JsonLines,
        Format::Csv,
        Format::Arrow,
        Format::Parquet,
    ];

    /// Its media type, as it stands in `Content-Type`.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::JsonLines => "application/x-ndjson",
            Format::Csv => "text/csv",
            Format::Arrow => "application/vnd.apache.arrow.stream",
            Format::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// The format that the client likes best; JSON if it does not say.
    ///
    /// # Errors
    /// 406 if it takes none of them.
    pub(super) fn negotiate(headers: &HeaderMap) -> Result<Self, Failure> {
        let mut ranges = Vec::new();
        for value in headers.get_all(header::ACCEPT) {
            let text = value.to_str().map_err(|_| {
                Failure::refused(
                    StatusCode::BAD_REQUEST,
                    "the header Accept is not plain text",
                )
            })?;
            ranges.extend(text.split(',').filter_map(Range::parse));
        }
        if ranges.is_empty() {
            return Ok(Format::Json);
        }
        let liked = Self::ALL
            .into_iter()
            .rev()
            .filter_map(|format| Some((Liking::of(format, &ranges)?, format)))
            // Of equals the last one wins, which is the first of `ALL`.
            .max_by(|(a, _), (b, _)| a.cmp(b));
        liked.map(|(_, format)| format).ok_or_else(|| {
            let all = Self::ALL.map(Format::media_type).join(", ");
            let message = format!("results are written as one of {all}; accept one of them");
            Failure::refused(StatusCode::NOT_ACCEPTABLE, message)
        })
    }
}

/// How much a client likes a format: by weight, then by how exactly it was named, then by how early.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Liking {
    thousandths: u32,
    exactness: u8,
    earliness: std::cmp::Reverse<usize>,
}

impl Liking {
    /// None if the client does not take it: no range fits, or the most exact one has weight 0.
    fn of(format: Format, ranges: &[Range<'_>]) -> Option<Self> {
        let fitting = ranges.iter().enumerate().filter_map(|(index, range)| {
            let exactness = range.exactness(format.media_type())?;
            Some((exactness, std::cmp::Reverse(index), range.thousandths))
        });
        let (exactness, earliness, thousandths) = fitting.max()?;
        (thousandths > 0).then_some(Liking {
            thousandths,
            exactness,
            earliness,
        })
    }
}

/// One item of an `Accept` header.
#[derive(Debug, PartialEq, Eq)]
struct Range<'a> {
    kind: &'a str,
    subkind: &'a str,
    thousandths: u32,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, subkind) = parts.next()?.split_once('/')?;
        let weight = parts
            .filter_map(|part| part.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
            .map_or(Some(1.0), |(_, value)| value.trim().parse::<f64>().ok())?;
        let thousandths = (weight.clamp(0.0, 1.0) * 1000.0) as u32;
        Some(Range {
            kind,
            subkind,
            thousandths,
        })
    }

    /// How exactly it names the media type; none if it does not fit.
    fn exactness(&self, media_type: &str) -> Option<u8> {
        let (kind, subkind) = media_type.split_once('/')?;
        match (self.kind, self.subkind) {
            ("*", "*") => Some(0),
            (k, "*") if k.eq_ignore_ascii_case(kind) => Some(1),
            (k, s) if k.eq_ignore_ascii_case(kind) && s.eq_ignore_ascii_case(subkind) => Some(2),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiated(accept: &[&str]) -> Option<Format> {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(header::ACCEPT, value.parse().unwrap());
        }
        Format::negotiate(&headers).ok()
    }

    #[test]
    fn the_client_gets_what_it_likes_best() {
        use Format::{Arrow, Csv, Json, JsonLines, Parquet};
        for (accept, expected) in [
            (&[][..], Some(Json)),
            (&["*/*"], Some(Json)),
            (&["text/csv"], Some(Csv)),
            (&["TEXT/CSV; charset=utf-8"], Some(Csv)),
            (&["text/*"], Some(Csv)),
            (&["application/*"], Some(Json)),
            (&["text/csv, application/json"], Some(Csv)),
            (&["text/csv", "application/json"], Some(Csv)),
            (&["text/csv;q=0.5, application/json;q=0.9"], Some(Json)),
            (&["*/*, text/csv"], Some(Csv)),
            (&["application/json;q=0, */*"], Some(JsonLines)),
            (&["application/json;q=0"], None),
            (&["application/vnd.apache.arrow.stream"], Some(Arrow)),
            (&["application/vnd.apache.parquet"], Some(Parquet)),
            (&["application/x-ndjson"], Some(JsonLines)),
            (&["image/png, text/csv;q=0.1"], Some(Csv)),
            (&["image/png"], None),
            (&["*/*;q=0"], None),
            (&["nonsense"], Some(Json)),
        ] {
            assert_eq!(negotiated(accept), expected, "{accept:?}");
        }
    }
}
