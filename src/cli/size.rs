//! Sizes and times as people type and read them.

/// Parses `512MiB`, `8GiB`, `1.5 GB`, `4096`; binary and decimal units.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.trim().parse().map_err(|_| format!("`{text}` is not a size"))?;
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kib" => 1024.0,
        "m" | "mib" => 1024.0 * 1024.0,
        "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "t" | "tib" => 1024.0f64.powi(4),
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        other => return Err(format!("unknown unit `{other}`; use MiB, GiB, MB or GB")),
    };
    let bytes = number * factor;
    if (0.0..=1e18).contains(&bytes) {
        Ok(bytes as u64)
    } else {
        Err(format!("`{text}` is out of range"))
    }
}

/// Parses `90`, `90s`, `10m`, `1.5h` into seconds, up to a day.
pub(crate) fn duration(text: &str) -> Result<f64, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        other => return Err(format!("unknown unit `{other}`; use s, m or h")),
    };
    let seconds =
        number.trim().parse::<f64>().map_err(|_| format!("`{text}` is not a time"))? * factor;
    let fits = seconds > 0.0 && seconds <= 86_400.0;
    if fits { Ok(seconds) } else { Err(format!("`{text}` is not between 0 and a day")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_an_end() {
        for (text, seconds) in [("90", 90.0), ("10m", 600.0), ("1.5h", 5400.0), ("20s", 20.0)] {
            assert_eq!(duration(text), Ok(seconds));
        }
        for bad in ["", "m", "0", "-1s", "2d", "1e9", "nan", "inf"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn binary_and_decimal_units_are_told_apart() {
        assert_eq!(parse("1GiB"), Ok(1 << 30));
        assert_eq!(parse("1.5 GB"), Ok(1_500_000_000));
        assert_eq!(parse("4096"), Ok(4096));
        for bad in ["", "GiB", "-1G", "1 furlong", "1e300", "nan"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
