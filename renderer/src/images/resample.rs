//! Scaling a picture, a separable kernel at a time. A pure function of its pixels.

use rayon::prelude::*;

use super::picture::Picture;

/// The kernel that weighs source pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(crate) enum Kernel {
    Nearest,
    Triangle,
    CatmullRom,
    Gaussian,
    Lanczos3,
}

impl Kernel {
    /// The names that templates use.
    pub(crate) const NAMES: [(&'static str, Self); 5] = [
        ("nearest", Self::Nearest),
        ("triangle", Self::Triangle),
        ("catmullrom", Self::CatmullRom),
        ("gaussian", Self::Gaussian),
        ("lanczos3", Self::Lanczos3),
    ];

    /// How far it reaches to each side, in pixels of the smaller picture.
    fn reach(self) -> f32 {
        match self {
            Self::Nearest => 0.0,
            Self::Triangle => 1.0,
            Self::CatmullRom => 2.0,
            Self::Gaussian | Self::Lanczos3 => 3.0,
        }
    }

    fn weight(self, x: f32) -> f32 {
        let a = x.abs();
        match self {
            Self::Nearest => 1.0,
            Self::Triangle => (1.0 - a).max(0.0),
            Self::CatmullRom if a < 1.0 => (1.5 * a - 2.5) * a * a + 1.0,
            Self::CatmullRom if a < 2.0 => ((-0.5 * a + 2.5) * a - 4.0) * a + 2.0,
            Self::CatmullRom => 0.0,
            // Standard deviation 0.5, as graphics programs have it.
            Self::Gaussian => (-2.0 * a * a).exp(),
            Self::Lanczos3 if a >= 3.0 => 0.0,
            Self::Lanczos3 => sinc(a) * sinc(a / 3.0),
        }
    }
}

fn sinc(x: f32) -> f32 {
    if x == 0.0 {
        return 1.0;
    }
    let angle = x * std::f32::consts::PI;
    angle.sin() / angle
}

/// For one output pixel: the first source pixel, and the weights from there on; they add up to 1.
struct Weights {
    first: usize,
    weights: Vec<f32>,
}

fn weights(from: u32, to: u32, kernel: Kernel) -> Vec<Weights> {
    let ratio = from as f32 / to as f32;
    let stretch = ratio.max(1.0);
    let reach = kernel.reach() * stretch;
    (0..to)
        .map(|i| {
            let centre = (i as f32 + 0.5) * ratio;
            if kernel == Kernel::Nearest {
                let first = (centre as usize).min(from as usize - 1);
                return Weights { first, weights: vec![1.0] };
            }
            let first = ((centre - reach).floor().max(0.0) as usize).min(from as usize - 1);
            let end = ((centre + reach).ceil() as usize).clamp(first + 1, from as usize);
            let mut weights: Vec<f32> =
                (first..end).map(|s| kernel.weight((s as f32 + 0.5 - centre) / stretch)).collect();
            let sum: f32 = weights.iter().sum();
            if sum != 0.0 {
                weights.iter_mut().for_each(|w| *w /= sum);
            }
            Weights { first, weights }
        })
        .collect()
}

/// Scales to these dimensions; colours are weighed by their opacity, so that what cannot be seen does not bleed.
pub(crate) fn resize(picture: &Picture, width: u32, height: u32, kernel: Kernel) -> Picture {
    if (picture.width, picture.height) == (width, height) {
        return picture.clone();
    }
    let (columns, rows) = (weights(picture.width, width, kernel), weights(picture.height, height, kernel));
    let source_row = picture.width as usize * 4;
    let row = width as usize * 4;
    let mut wide = vec![0_f32; row * picture.height as usize];
    wide.par_chunks_mut(row).zip(picture.rgba.par_chunks(source_row)).for_each(|(out, source)| {
        for (pixel, weights) in out.chunks_exact_mut(4).zip(&columns) {
            let sources = source[weights.first * 4..].chunks_exact(4);
            for (source, weight) in sources.zip(&weights.weights) {
                let alpha = f32::from(source[3]) / 255.0 * weight;
                for c in 0..3 {
                    pixel[c] += f32::from(source[c]) * alpha;
                }
                pixel[3] += alpha;
            }
        }
    });
    let mut rgba = vec![0_u8; row * height as usize];
    rgba.par_chunks_mut(row).zip(&rows).for_each(|(out, weights)| {
        let mut sums = vec![0_f32; row];
        for (i, weight) in weights.weights.iter().enumerate() {
            let source = &wide[(weights.first + i) * row..][..row];
            sums.iter_mut().zip(source).for_each(|(sum, value)| *sum += value * weight);
        }
        for (pixel, sum) in out.chunks_exact_mut(4).zip(sums.chunks_exact(4)) {
            let alpha = sum[3].clamp(0.0, 1.0);
            if alpha > 0.0 {
                for c in 0..3 {
                    pixel[c] = (sum[c] / sum[3]).round().clamp(0.0, 255.0) as u8;
                }
            }
            pixel[3] = (alpha * 255.0).round() as u8;
        }
    });
    Picture { width, height, rgba, opaque: picture.opaque, icc: picture.icc.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: u32, height: u32, pixel: impl Fn(u32, u32) -> [u8; 4]) -> Picture {
        let rgba = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        Picture {
            width,
            height,
            rgba: rgba.flat_map(|(x, y)| pixel(x, y)).collect(),
            opaque: false,
            icc: None,
        }
    }

    #[test]
    fn one_colour_stays_that_colour() {
        for (_, kernel) in Kernel::NAMES {
            let made = resize(&picture(7, 5, |_, _| [10, 200, 30, 255]), 3, 11, kernel);
            assert_eq!((made.width, made.height), (3, 11));
            assert!(made.rgba.chunks(4).all(|p| p == [10, 200, 30, 255]), "{kernel:?}");
        }
    }

    #[test]
    fn what_cannot_be_seen_does_not_bleed() {
        let half = picture(4, 1, |x, _| if x < 2 { [255, 0, 0, 255] } else { [0, 0, 0, 0] });
        let made = resize(&half, 1, 1, Kernel::Triangle);
        assert_eq!(&made.rgba[..3], [255, 0, 0]);
        assert!((100..156).contains(&made.rgba[3]), "{:?}", made.rgba);
    }

    #[test]
    fn halves_stay_on_their_sides() {
        let made = resize(
            &picture(100, 2, |x, _| if x < 50 { [0, 0, 0, 255] } else { [255, 255, 255, 255] }),
            10,
            1,
            Kernel::Lanczos3,
        );
        assert_eq!(made.rgba[0], 0);
        assert_eq!(made.rgba[9 * 4], 255);
    }
}
