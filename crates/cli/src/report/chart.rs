//! The lag over time, drawn.

use std::fmt::Write as _;
use twinlake_core::Timestamp;
use twinlake_core::heartbeat::{Channel, Sample};

const WIDTH: i64 = 860;
const HEIGHT: i64 = 240;
const LEFT: i64 = 64;
const TOP: i64 = 28;
const BOTTOM: i64 = 28;
/// More points than this are drawn as the worst of some.
const POINTS: usize = 400;
/// Between samples that are further apart the line is broken.
const GAP_SECS: i64 = 300;

/// An SVG of the lag of each channel, between two times.
pub(super) fn lag(samples: &[Sample], from: Timestamp, to: Timestamp) -> String {
    let worst = |sample: &Sample| sample.catalog.max(sample.permissions);
    let top = scale(samples.iter().map(worst).max().unwrap_or_default());
    let span = to.secs().saturating_sub(from.secs()).max(1);
    let x = |at: Timestamp| {
        LEFT + (WIDTH - LEFT) * at.secs().saturating_sub(from.secs()).clamp(0, span) / span
    };
    let y = |secs: i64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * secs.clamp(0, top) / top;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Lag by channel, in \
         seconds\">"
    );
    for part in 0..=4 {
        let secs = top * part / 4;
        let (at, text) = (y(secs), y(secs) + 4);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at}\" x2=\"{WIDTH}\" y2=\"{at}\"/>\
             <text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{}</text>",
            LEFT - 8,
            told(secs)
        );
    }
    let below = HEIGHT - 8;
    let _ = write!(
        svg,
        "<text x=\"{LEFT}\" y=\"{below}\">{from}</text>\
         <text x=\"{WIDTH}\" y=\"{below}\" text-anchor=\"end\">{to}</text>"
    );
    for (place, channel) in Channel::EVERY.into_iter().enumerate() {
        let start = LEFT + 150 * i64::try_from(place).unwrap_or_default();
        let _ = write!(
            svg,
            "<line class=\"key {channel}\" x1=\"{start}\" y1=\"10\" x2=\"{}\" y2=\"10\"/>\
             <text x=\"{}\" y=\"14\">{channel}</text>",
            start + 28,
            start + 34
        );
        for run in runs(samples) {
            let points: Vec<String> = thinned(run, channel)
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

/// The end of the scale: a round number that nothing goes beyond.
fn scale(worst: i64) -> i64 {
    let rounds = [
        20, 60, 120, 300, 600, 1200, 3600, 7200, 14_400, 43_200, 86_400,
    ];
    let end = rounds.into_iter().find(|end| *end >= worst);
    end.unwrap_or_else(|| (worst / 86_400 + 1) * 86_400)
}

fn told(secs: i64) -> String {
    match secs {
        0..=299 => format!("{secs} s"),
        300..=7199 => format!("{} min", secs / 60),
        _ => format!("{} h", secs / 3600),
    }
}

/// Samples without a gap between them.
fn runs(samples: &[Sample]) -> Vec<&[Sample]> {
    let near = |one: &Sample, next: &Sample| one.at.plus_secs(GAP_SECS) >= next.at;
    samples.chunk_by(near).collect()
}

/// The worst of each few samples, so that no peak is lost.
fn thinned(run: &[Sample], channel: Channel) -> Vec<(Timestamp, i64)> {
    let few = run.len().div_ceil(POINTS).max(1);
    let worst = run.chunks(few).filter_map(|some| {
        let worst = some.iter().max_by_key(|sample| sample.of(channel))?;
        Some((worst.at, worst.of(channel)))
    });
    worst.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(minute: i64, catalog: i64) -> Sample {
        Sample {
            at: Timestamp::from_secs(60 * minute),
            catalog,
            permissions: 0,
        }
    }

    #[test]
    fn a_peak_is_drawn_however_many_samples_there_are_and_a_gap_is_none() {
        let mut samples: Vec<Sample> = (0..5000).map(|minute| sample(minute, 1)).collect();
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
