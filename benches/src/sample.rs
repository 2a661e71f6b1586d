//! Times, and what is said about them.

use std::time::Duration;

/// Times of one subject.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    times: Vec<Duration>,
}

impl Sample {
    /// Adds one time.
    pub fn add(&mut self, time: Duration) {
        self.times.push(time);
    }

    /// Returns how many times there are.
    pub fn count(&self) -> usize {
        self.times.len()
    }

    /// Returns the time that `percent` of all times do not exceed; `None` without times.
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let mut sorted = self.times.clone();
        sorted.sort_unstable();
        let index = (sorted.len() * percent).div_ceil(100).max(1) - 1;
        sorted.get(index).copied()
    }

    /// Returns the mean; `None` without times.
    pub fn mean(&self) -> Option<Duration> {
        let count = u32::try_from(self.times.len()).ok()?;
        self.times.iter().sum::<Duration>().checked_div(count)
    }

    /// Returns the median; `None` without times.
    pub fn median(&self) -> Option<Duration> {
        self.percentile(50)
    }
}

/// Writes a time with the unit that suits it.
pub fn show(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    if micros < 1000.0 {
        format!("{micros:.0} µs")
    } else if micros < 100_000.0 {
        format!("{:.2} ms", micros / 1e3)
    } else if micros < 10_000_000.0 {
        format!("{:.0} ms", micros / 1e3)
    } else {
        format!("{:.1} s", micros / 1e6)
    }
}

/// Writes how much more `other` is than `one`.
pub fn difference(one: Duration, other: Duration) -> String {
    if other >= one {
        show(other - one)
    } else {
        format!("- {}", show(one - other))
    }
}

/// Writes how many times `other` is of `one`.
pub fn ratio(one: Duration, other: Duration) -> String {
    let ratio = other.as_secs_f64() / one.as_secs_f64().max(1e-9);
    if ratio < 10.0 {
        format!("{ratio:.2}")
    } else {
        format!("{ratio:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_few_times() {
        let mut sample = Sample::default();
        assert_eq!(sample.median(), None);
        for millis in [5, 1, 4, 2, 3] {
            sample.add(Duration::from_millis(millis));
        }
        assert_eq!(sample.median(), Some(Duration::from_millis(3)));
        assert_eq!(sample.mean(), Some(Duration::from_millis(3)));
        assert_eq!(sample.percentile(90), Some(Duration::from_millis(5)));
        assert_eq!(sample.percentile(0), Some(Duration::from_millis(1)));
    }

    #[test]
    fn units() {
        assert_eq!(show(Duration::from_micros(999)), "999 µs");
        assert_eq!(show(Duration::from_micros(4321)), "4.32 ms");
        assert_eq!(show(Duration::from_millis(427)), "427 ms");
        assert_eq!(show(Duration::from_secs(17)), "17.0 s");
        let (two, three) = (Duration::from_millis(2), Duration::from_millis(3));
        assert_eq!(
            (difference(two, three), difference(three, two)),
            ("1.00 ms".into(), "- 1.00 ms".into())
        );
        assert_eq!(ratio(Duration::from_millis(2), Duration::from_millis(5)), "2.50");
    }
}
