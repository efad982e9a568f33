//! Metrics in the text format.

/// What `/metrics` said at one time.
#[derive(Clone, Debug)]
pub struct Metrics(pub String);

impl Metrics {
    /// Sum of the samples of a metric whose labels contain all the given `name="value"` pairs.
    pub fn sum(&self, metric: &str, labels: &[&str]) -> f64 {
        self.0
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let (series, value) = line.rsplit_once(' ')?;
                let name = series.split('{').next()?;
                let matches = name == metric && labels.iter().all(|label| series.contains(label));
                if matches { value.parse::<f64>().ok() } else { None }
            })
            .sum()
    }
}
