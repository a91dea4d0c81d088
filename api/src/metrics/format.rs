//! The two formats of the page, which differ in what they call a counter and how they end.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

/// How the page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The text format of Prometheus, which everything reads.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// The version of OpenMetrics that is written.
const OPEN_METRICS: &str = "1.0.0";

impl Format {
    /// The format that a request with these headers would rather have: text, unless OpenMetrics is asked for.
    pub(crate) fn accepted(headers: &HeaderMap) -> Self {
        let values = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
        let ranges: Vec<MediaRange<'_>> = values.flat_map(|value| value.split(',')).map(MediaRange::of).collect();
        let best = |is: fn(&MediaRange<'_>) -> bool| {
            ranges.iter().filter(|range| is(range)).map(|range| range.quality).fold(0.0, f64::max)
        };
        let (open_metrics, text) = (best(|range| range.is_open_metrics()), best(|range| range.is_text()));
        if open_metrics > 0.0 && open_metrics >= text { Self::OpenMetrics } else { Self::Text }
    }

    /// What the answer is.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// One entry of an `Accept` header.
struct MediaRange<'a> {
    name: &'a str,
    version: Option<&'a str>,
    /// 0 to 1.
    quality: f64,
}

impl<'a> MediaRange<'a> {
    fn of(text: &'a str) -> Self {
        let (mut parts, mut version, mut quality) = (text.split(';').map(str::trim), None, 1.0);
        let name = parts.next().unwrap_or_default();
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            match key.trim() {
                "version" => version = Some(value.trim().trim_matches('"')),
                "q" => quality = value.trim().parse().unwrap_or(0.0),
                _ => {}
            }
        }
        Self { name, version, quality }
    }

    fn is_open_metrics(&self) -> bool {
        self.name.eq_ignore_ascii_case("application/openmetrics-text")
            && self.version.is_none_or(|version| version == OPEN_METRICS)
    }

    fn is_text(&self) -> bool {
        ["text/plain", "text/*", "*/*"].iter().any(|name| self.name.eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_for_those_who_ask_for_it() {
        let of = |value: &str| Format::accepted(&HeaderMap::from_iter([(ACCEPT, value.parse().expect("a value"))]));
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for value in [prometheus, "application/openmetrics-text", "text/plain; q=0.5, Application/OpenMetrics-Text"] {
            assert_eq!(of(value), Format::OpenMetrics, "{value}");
        }
        let text = ["*/*", "text/plain", "application/openmetrics-text;version=0.0.1,*/*;q=0.1", "nonsense", ""];
        for value in
            text.into_iter().chain(["application/openmetrics-text;q=0", "application/openmetrics-text;q=0.2,*/*"])
        {
            assert_eq!(of(value), Format::Text, "{value}");
        }
        assert_eq!(Format::accepted(&HeaderMap::new()), Format::Text);
    }
}
