use std::fmt;
use std::str::FromStr;

/// TPC-H's scale factor: 1 is about a gigabyte of raw data.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Scale(f64);

/// Text that is no scale factor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a scale factor: give a number between 0.001 and 1000, such as 0.1 or 10")]
pub struct InvalidScale(pub String);

impl Scale {
    /// Wraps a scale factor.
    ///
    /// # Errors
    /// [`InvalidScale`] outside 0.001..=1000.
    pub fn new(factor: f64) -> Result<Self, InvalidScale> {
        if (0.001..=1000.0).contains(&factor) {
            Ok(Scale(factor))
        } else {
            Err(InvalidScale(factor.to_string()))
        }
    }

    /// The factor as a number.
    pub fn factor(self) -> f64 {
        self.0
    }

    /// How many rows a table has whose size grows with the scale and that has `base` at scale 1.
    pub(crate) fn rows(self, base: u64) -> u64 {
        (base as f64 * self.0).round() as u64
    }
}

impl FromStr for Scale {
    type Err = InvalidScale;
    fn from_str(text: &str) -> Result<Self, InvalidScale> {
        let factor = text
            .parse::<f64>()
            .map_err(|_| InvalidScale(text.to_string()))?;
        Scale::new(factor).map_err(|_| InvalidScale(text.to_string()))
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sensible_scales_are_accepted() {
        assert_eq!("0.1".parse::<Scale>().unwrap().to_string(), "0.1");
        assert_eq!("10".parse::<Scale>().unwrap().rows(5), 50);
        for text in ["", "-1", "0", "NaN", "1e9", "one"] {
            assert!(text.parse::<Scale>().is_err(), "{text}");
        }
    }
}
