"""The fast measurement model: what a scan shows of the activities of K regions, without an image.

Near a reference pattern of activities a reconstruction is linear in the counts, and counts are Poisson. So the totals q
that are read in the regions have, for true activities A and a scan of T seconds,

    mean        E q = R A + b
    covariance  C = (sum_j V_j A_j + V_room) / T

R, the geometric transfer matrix (Rousset, Ma and Evans 1998) of the whole chain: R_kj is read in region k for each MBq
in j. V_j is what a MBq of source j adds to the noise. Both come from `fit_measurement`. Errors that scans share (the
camera's calibration, a blur that is not the one reconstructed with) are two normal numbers beside them.

The model knows no dead time, no motion and no contour errors. Noise is taken as normal: for regions that hold less than
about two of its sds the image, which is never negative, is skewed. docs/imaging-measurement-model.md has the checks.

References:
    O. G. Rousset, Y. Ma, A. C. Evans, J. Nucl. Med. 39 (1998) 904-911.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

SHARED = 2
"""Normal numbers that scans share: of the calibration, of the blur."""

LEAST = 1e-12
"""Added to each variance, as a share of the mean one, so that a root can be taken where regions are read alike."""

TINY_MBq2 = 1e-30


class MeasurementModel(eqx.Module):
    """How K regions are measured; the last axis of every activity is `regions`.

    Attributes:
        response: MBq read in a region for each MBq in a source.
        noise_MBq_s: variance (and covariance) of the totals, times seconds, for each MBq in a source.
        offset_MBq: read where there is no activity (the room's background less what scatter correction takes).
        room_MBq2_s: covariance by the room's background, times seconds.
        blur_slope: change of `response` for a relative change of the blur reconstructed with.
        calibration_cv, blur_cv: relative sds of the errors that scans share.
        scan_time_s: of the scan that the model was fitted to, each bed.
        regions: their names.
        about: pairs of words on how it was made.
    """

    response: Float[Array, "region source"]
    noise_MBq_s: Float[Array, "region other source"]
    offset_MBq: Float[Array, " region"]
    room_MBq2_s: Float[Array, "region other"]
    blur_slope: Float[Array, "region source"]
    calibration_cv: Float[Array, ""]
    blur_cv: Float[Array, ""]
    scan_time_s: Float[Array, ""]
    regions: tuple[str, ...] = eqx.field(static=True)
    about: tuple[tuple[str, str], ...] = eqx.field(static=True, default=())

    def expected(self, activity_MBq: Float[Array, "*batch source"]) -> Float[Array, "*batch region"]:
        """Mean of the totals read, MBq."""
        return activity_MBq @ self.response.T + self.offset_MBq

    def covariance(
        self, activity_MBq: Float[Array, "*batch source"], scan_time_s: Float[Array, "*batch"] | float | None = None
    ) -> Float[Array, "*batch region other"]:
        """Of the totals read, by counting alone, MBq^2; `scan_time_s` is that of the fit by default."""
        time = jnp.asarray(self.scan_time_s if scan_time_s is None else scan_time_s)
        a_second = jnp.einsum("klj,...j->...kl", self.noise_MBq_s, activity_MBq) + self.room_MBq2_s
        return a_second / time[..., None, None]

    def shared_errors(self, activity_MBq: Float[Array, "*batch source"]) -> Float[Array, "*batch region error"]:
        """Error in MBq for one sd of each error that scans share: calibration, blur."""
        calibration = self.calibration_cv * self.expected(activity_MBq)
        blur = self.blur_cv * activity_MBq @ self.blur_slope.T
        return jnp.stack([calibration, blur], axis=-1)

    def measure(
        self,
        activity_MBq: Float[Array, "*batch source"],
        key,
        scan_time_s: Float[Array, "*batch"] | float | None = None,
        *,
        shared: Float[Array, "*batch error"] | None = None,
    ) -> Float[Array, "*batch region"]:
        """Totals as a scan shows them, MBq.

        `shared` are standard normal numbers of the errors that scans share; give the same for scans of one camera.
        They are drawn for every scan anew by default; zeros leave them out.
        """
        counting, common = jax.random.split(key)
        mean = self.expected(activity_MBq)
        drawn = jax.random.normal(counting, mean.shape, mean.dtype)
        z = jax.random.normal(common, (*mean.shape[:-1], SHARED), mean.dtype) if shared is None else shared
        noise = jnp.einsum("...kl,...l->...k", root(self.covariance(activity_MBq, scan_time_s)), drawn)
        return mean + noise + jnp.einsum("...ke,...e->...k", self.shared_errors(activity_MBq), z)

    def corrected(self, read_MBq: Float[Array, "*batch region"]) -> Float[Array, "*batch source"]:
        """Activities whose expected totals these are: spill-over between the regions undone."""
        return (read_MBq - self.offset_MBq) @ jnp.linalg.inv(self.response).T

    def recovered(self, read_MBq: Float[Array, "*batch region"]) -> Float[Array, "*batch source"]:
        """Each region divided by its own recovery: what its neighbours spill into it stays."""
        return read_MBq / jnp.diag(self.response)

    def undone(self) -> MeasurementModel:
        """The model of corrected activities: no spill-over is left, and its noise is that of the correction."""
        inverse = jnp.linalg.inv(self.response)
        return eqx.tree_at(
            lambda m: (m.response, m.noise_MBq_s, m.offset_MBq, m.room_MBq2_s, m.blur_slope),
            self,
            (
                jnp.eye(len(self.regions)),
                jnp.einsum("ak,klj,bl->abj", inverse, self.noise_MBq_s, inverse),
                jnp.zeros_like(self.offset_MBq),
                inverse @ self.room_MBq2_s @ inverse.T,
                inverse @ self.blur_slope,
            ),
        )


def root(covariance: Float[Array, "*batch region other"]) -> Float[Array, "*batch region other"]:
    """Lower Cholesky factor, column by column for the whole batch at once: LAPACK goes matrix by matrix."""
    size = covariance.shape[-1]
    mean = jnp.trace(covariance, axis1=-2, axis2=-1)[..., None, None] / size
    left = covariance + (LEAST * mean + TINY_MBq2) * jnp.eye(size, dtype=covariance.dtype)
    columns = []
    for k in range(size):
        pivot = jnp.maximum(left[..., k, k], TINY_MBq2)
        below = jnp.arange(size) >= k
        column = jnp.where(below, left[..., k] / jnp.sqrt(pivot)[..., None], 0)
        left = left - column[..., :, None] * column[..., None, :]
        columns.append(column)
    return jnp.stack(columns, axis=-1)
