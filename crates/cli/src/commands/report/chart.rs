//! The lag chart as SVG.

use std::fmt::Write as _;
use twinlake_core::Timestamp;
use twinlake_core::heartbeat::{Channel, LagSample};

const WIDTH: i64 = 860;
const HEIGHT: i64 = 240;
const LEFT: i64 = 64;
const TOP: i64 = 28;
const BOTTOM: i64 = 28;
/// A line has at most this many points. With more samples, each point is the maximum of several.
const MAX_POINTS: usize = 400;
/// Samples further apart than this are not connected by a line.
const MAX_CONNECTED_SECS: i64 = 300;

/// Draws the lag of each channel between two times, as SVG.
pub(super) fn lag(samples: &[LagSample], from: Timestamp, to: Timestamp) -> String {
    let worst = |sample: &LagSample| sample.catalog.max(sample.permissions);
    let axis_end = axis_end(samples.iter().map(worst).max().unwrap_or_default());
    let span = to.secs().saturating_sub(from.secs()).max(1);
    let x = |at: Timestamp| {
        LEFT + (WIDTH - LEFT) * at.secs().saturating_sub(from.secs()).clamp(0, span) / span
    };
    let y =
        |secs: i64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * secs.clamp(0, axis_end) / axis_end;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Lag by channel, in \
         seconds\">"
    );
    for quarter in 0..=4 {
        let secs = axis_end * quarter / 4;
        let (line_y, text_y) = (y(secs), y(secs) + 4);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{line_y}\" x2=\"{WIDTH}\" y2=\"{line_y}\"/>\
             <text x=\"{}\" y=\"{text_y}\" text-anchor=\"end\">{}</text>",
            LEFT - 8,
            duration(secs)
        );
    }
    let below = HEIGHT - 8;
    let _ = write!(
        svg,
        "<text x=\"{LEFT}\" y=\"{below}\">{from}</text>\
         <text x=\"{WIDTH}\" y=\"{below}\" text-anchor=\"end\">{to}</text>"
    );
    for (index, channel) in Channel::EVERY.into_iter().enumerate() {
        let start = LEFT + 150 * i64::try_from(index).unwrap_or_default();
        let _ = write!(
            svg,
            "<line class=\"key {channel}\" x1=\"{start}\" y1=\"10\" x2=\"{}\" y2=\"10\"/>\
             <text x=\"{}\" y=\"14\">{channel}</text>",
            start + 28,
            start + 34
        );
        for run in connected_runs(samples) {
            let points: Vec<String> = thin_out(run, channel)
                .iter()
                .map(|(at, secs)| format!("{},{}", x(*at), y(*secs)))
                .collect();
            let points = points.join(" ");
            let _ = write!(svg, "<polyline class=\"{channel}\" points=\"{points}\"/>");
        }
    }
    svg.push_str("</svg>");
    svg
}

/// The end of the vertical axis in seconds: a round number that is at least the maximum.
fn axis_end(maximum: i64) -> i64 {
    let rounds = [
        20, 60, 120, 300, 600, 1200, 3600, 7200, 14_400, 43_200, 86_400,
    ];
    let end = rounds.into_iter().find(|end| *end >= maximum);
    end.unwrap_or_else(|| (maximum / 86_400 + 1) * 86_400)
}

fn duration(secs: i64) -> String {
    match secs {
        0..=299 => format!("{secs} s"),
        300..=7199 => format!("{} min", secs / 60),
        _ => format!("{} h", secs / 3600),
    }
}

/// Splits the samples where two of them are too far apart to be connected.
fn connected_runs(samples: &[LagSample]) -> Vec<&[LagSample]> {
    let near = |one: &LagSample, next: &LagSample| one.at.plus_secs(MAX_CONNECTED_SECS) >= next.at;
    samples.chunk_by(near).collect()
}

/// Reduces the samples to `MAX_POINTS`. Keeps the maximum of each group, so that no peak is lost.
fn thin_out(run: &[LagSample], channel: Channel) -> Vec<(Timestamp, i64)> {
    let group_len = run.len().div_ceil(MAX_POINTS).max(1);
    let points = run.chunks(group_len).filter_map(|group| {
        let worst = group.iter().max_by_key(|sample| sample.lag(channel))?;
        Some((worst.at, worst.lag(channel)))
    });
    points.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(minute: i64, catalog: i64) -> LagSample {
        LagSample {
            at: Timestamp::from_secs(60 * minute),
            catalog,
            permissions: 0,
        }
    }

    #[test]
    fn a_peak_survives_many_samples_and_a_gap_breaks_the_line() {
        let mut samples: Vec<LagSample> = (0..5000).map(|minute| sample(minute, 1)).collect();
        samples[2500].catalog = 90;
        samples.drain(1000..1100);
        let svg = lag(&samples, Timestamp(0), Timestamp::from_secs(60 * 5000));
        assert_eq!(svg.matches("polyline class=\"catalog\"").count(), 2);
        let highest = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * 90 / 120;
        assert!(
            svg.contains(&format!(",{highest}")),
            "the peak of 90 of 120 s"
        );
    }
}
