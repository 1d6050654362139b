"""Radiobiology: ODE against closed form, limits, published figures; V15 to V17 by another road, and V19."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np

from dose.bed_maps import bed_of_curves, bed_of_kinetics, bed_of_scans
from dose.control import endpoint, hypoxic_tcp, ntcp_lkb, tcp
from dose.dose_rate import ode_bed_Gy, sampled_bed_Gy
from dose.exposure import Exposure, Growth, bed_over_half_lives, course_bed_Gy, net_bed_Gy
from dose.mixed import MixedDose
from dose.organ import dose_coefficient_Gy_per_MBq_h
from dose.repair import course_quadratic_Gy2, exposure_dose_Gy, g_factor, quadratic_Gy2
from dose.tissues import Repair, Tissue, parameter, tissue, tissue_draws
from tests.validate import check, close

LN2 = math.log(2)
RATIO, MU = 2.6, LN2 / 2.8
CLINICAL = "CLINICAL.md section 6: derived, ODE-checked"
PROJECT = "DOSE.md section 6"
EXACT = "closed form, derived independently of the code"
CORD = "two repair components: rat spinal cord, Ang 1992 (abstract)"


def relative(key: str, unit: str, tolerance: float, source: str):
    """Register a function that gives pairs (found, expected); the row is the worst relative difference."""

    def keep(function):
        @check(f"dose/radiobiology/{key}", unit=unit, tolerance=f"{tolerance:g}", source=source)
        def _worst():
            worst = max((abs(found / expected - 1) for found, expected in function()), default=math.inf)
            return float(worst), bool(worst <= tolerance)

        return function

    return keep


def exposed(amplitudes, half_times_h) -> Exposure:
    return Exposure(tuple(amplitudes), tuple(LN2 / np.array(half_times_h)))


CASES = (([0.0604489], [51.6]), ([0.06, 0.03], [70.0, 10.0]), ([0.08, -0.08], [60.0, 3.0]))


@relative("ODE against closed form, one and two repair components", "relative difference", 1e-8, EXACT + "; " + CORD)
def ode_is_closed():
    for amplitudes, half in CASES:
        a, rate = jnp.array(amplitudes), LN2 / jnp.array(half)
        for repair in (Repair((1.0,), (2.8,)), tissue("spleen", row="rat_spinal_cord", components=2).repair):
            _, bed = ode_bed_Gy(lambda t, a=a, rate=rate: jnp.sum(a * jnp.exp(-rate * t)), RATIO, repair, 3000.0)
            yield float(bed), float(exposure_dose_Gy(a, rate) + quadratic_Gy2(a, rate, repair) / RATIO)


@relative("ODE against closed form, three cycles that overlap", "relative difference", 1e-8, EXACT)
def ode_of_a_course():
    starts, a = jnp.array([0.0, 20.0, 200.0]), jnp.array([[0.06], [0.1], [0.05]])
    rates = jnp.array([[0.01], [0.012], [0.013]])
    repair = Repair((0.38, 0.62), (0.7, 3.8))

    def course(t):
        since = t - starts[:, None]
        return jnp.sum(jnp.where(since >= 0, a * jnp.exp(-rates * jnp.maximum(since, 0)), 0.0))

    _, bed = ode_bed_Gy(course, RATIO, repair, 3500.0, breaks_h=(20.0, 200.0))
    yield float(bed), float(jnp.sum(a / rates) + course_quadratic_Gy2(starts, a, rates, repair) / RATIO)


@relative("samples against the ODE of the same straight lines", "relative difference", 1e-8, EXACT)
def samples_are_the_ode():
    time, rate = np.array([0.0, 0.3, 1.0, 4.0, 9.0, 24.0, 50.0, 120.0]), np.array([1, 4, 7, 6, 5, 3, 2, 0.5]) / 100
    repair = Repair((0.38, 0.62), (0.7, 3.8))
    _, bed = ode_bed_Gy(lambda t: jnp.interp(t, time, rate), RATIO, repair, 120.0, breaks_h=tuple(time))
    yield float(sampled_bed_Gy(time, rate, RATIO, repair)), float(bed)


@relative("V15, V16, V17 by the ODE", "relative difference of BED", 1e-6, CLINICAL)
def v_by_ode():
    v17 = 6.5786894 * (1 + 0.0434878 * 6.5786894 / RATIO)
    cases = (([4.5 * LN2 / 51.6], [51.6], 4.900877), ([0.06, 0.03], [70, 10], 7.1740666), ([0.08, -0.08], [60, 3], v17))
    for amplitudes, half, expected in cases:
        a, rate = jnp.array(amplitudes), LN2 / jnp.array(half)
        yield (
            float(ode_bed_Gy(lambda t, a=a, rate=rate: jnp.sum(a * jnp.exp(-rate * t)), RATIO, MU, 3000.0)[1]),
            expected,
        )


@relative("V19 activity of 1, 2, 4, 6 equal cycles at 27 Gy of BED", "relative difference", 1e-4, CLINICAL)
def v19():
    g = float(g_factor([1.0], [LN2 / 51.6], MU))
    for n, expected in ((1, 38.969), (2, 22.146), (4, 12.060), (6, 8.3156)):
        dose = (math.sqrt(1 + 4 * g / RATIO * 27 / n) - 1) / (2 * g / RATIO)  # D + G D^2/(a/b) = 27/n
        yield dose / 0.5, expected


@check(
    "dose/radiobiology/kidney: 4 x 5.75 Gy, 23 Gy at once", unit="Gy", tolerance="0.005 of 25.70, 33.79", source=PROJECT
)
def four_or_one():
    cycle, kidney = exposed([5.75 * LN2 / 50], [50.0]), tissue("kidneys")
    found = [course_bed_Gy([cycle] * 4, [0, 1344, 2688, 4032], kidney), cycle.scaled(4.0).bed_Gy(kidney)]
    return found, all(abs(f - e) <= 0.005 for f, e in zip(found, (25.70, 33.79), strict=True))


@relative("limits: acute, endless, constant dose rate", "relative difference", 2e-6, "Lea and Catcheside; arithmetic")
def limits():
    """Acute D(1 + D/(a/b)); endless D; constant over T: G = 2/x^2 (x - 1 + exp(-x)), x = mu T."""
    kidney = tissue("kidneys")
    yield float(bed_over_half_lives(23.0, 1e-6, kidney)), 23 * (1 + 23 / RATIO)
    yield float(bed_over_half_lives(23.0, 1e9, kidney)), 23.0
    for length in (1.0, 10.0, 300.0):
        x = MU * length
        yield float(g_factor([1.0], [0.0], MU, length)), 2 / x**2 * (x + math.expm1(-x))


@check(
    "dose/radiobiology/laws broken in 2000 random exposures",
    unit="count",
    tolerance="0",
    source="0 < G <= 1; slower repair, larger dose and smaller alpha/beta raise BED; D <= BED <= D(1 + D/(a/b))",
)
def laws():
    rng, broken, n = np.random.default_rng(20261121), 0, 2000
    a, rate = rng.uniform(1e-3, 1, (2, n)), 10 ** rng.uniform(-3, 0, (2, n))
    half, ratio, slow = 10 ** rng.uniform(-1, 1.5, n), rng.uniform(1, 20, n), rng.uniform(0, 1, n)
    end = 10 ** rng.uniform(-1, 4, n)
    dose = np.asarray(exposure_dose_Gy(a, rate, end))

    def bed(scale=1.0, repair=1.0, ab=1.0):
        modes = Repair((1 - slow, slow), (repair * half, 3 * repair * half))
        return scale * dose + np.asarray(quadratic_Gy2(scale * a, rate, modes, end)) / (ab * ratio)

    least, g = bed(), (bed() - dose) * ratio / dose**2
    broken += np.sum((g <= 0) | (g > 1 + 1e-12)) + np.sum(
        (least < dose) | (least > dose * (1 + dose / ratio) * (1 + 1e-12))
    )
    for other in (bed(scale=1.1), bed(repair=1.3), bed(ab=0.7)):
        broken += np.sum(other < least * (1 - 1e-12))
    return int(broken), broken == 0


@check(
    "dose/radiobiology/parotid: complications at 25 and 30 Gy",
    unit="1",
    tolerance="0.01 of 0.17, 0.26",
    source="Dijkema 2010, abstract: TD50 39.9 Gy, m 0.40; 17-26 % at 25-30 Gy",
)
def parotid():
    found = [float(endpoint("parotid_flow").ntcp(dose)) for dose in (25.0, 30.0)]
    return found, all(abs(f - e) <= 0.01 for f, e in zip(found, (0.17, 0.26), strict=True))


@check(
    "dose/radiobiology/kidneys: complications at 23 Gy in 2 Gy fractions",
    unit="1",
    tolerance="0.015 of 0.05",
    source="Emami 1991: 5 % at 23 Gy, 50 % at 28 Gy; slope of Burman 1991 rounded to 0.1 (recalled)",
)
def nephritis():
    found = float(endpoint("kidney_nephritis").ntcp(23.0))
    return found, abs(found - 0.05) <= 0.015


@check(
    "dose/radiobiology/prostate implants, net BED of 125I 145 Gy over 103Pd 125 Gy",
    unit="ratio",
    tolerance="within 10 % of 1",
    source="Wang 2003, abstract: found from implants and external beams being equivalent; doses recalled",
)
def implants():
    """alpha 0.15 per Gy, alpha/beta 3.1 Gy, repair 16 min, doubling 42 d; half-lives 59.4 and 17.0 d."""
    values = tissue("tumour_1", row="prostate_cancer")
    alpha, doubling = (parameter("prostate_cancer", name).value for name in ("alpha", "doubling_time"))
    growth = Growth(alpha, doubling)
    net = [net_bed_Gy(exposed([d * LN2 / t], [t]), values, growth).bed_Gy for d, t in ((145, 1425.6), (125, 408.0))]
    return net[0] / net[1], close(net[0] / net[1], 1.0, 0.1)


@relative("growth: net BED turns where the dose rate meets it", "relative difference", 1e-6, EXACT)
def turning_point():
    growth, rate = Growth(0.15, 1008.0), LN2 / 60
    expected = math.log(30 * rate / growth.Gy_per_h) / rate
    found = net_bed_Gy(exposed([30 * rate], [60.0]), Tissue(1e12, 1.0, ""), growth)
    yield found.bed_Gy, 30 * (1 - math.exp(-rate * expected)) - growth.Gy_per_h * expected


@relative("NTCP, TCP, hypoxic TCP", "relative difference", 2e-3, CLINICAL + "; hypoxia: exp(-N exp(-aD/o - bGD^2/o^2))")
def outcomes():
    for effect, expected in ((40.0, 0.22435), (27.0, 6.416e-4), (23.0, 3.49e-5)):
        yield float(ntcp_lkb(effect, 44.0, 0.12)), expected
    yield float(tcp(60.0, 0.35, 1e8)), 0.92698
    alive = math.exp(-0.3 / 2.5 * 80 - 0.03 / 6.25 * 0.5 * 6400)
    both = 0.8 * math.exp(-0.3 * 80 - 0.03 * 0.5 * 6400) + 0.2 * alive
    yield float(hypoxic_tcp(80.0, 0.5, 10.0, 0.3, 1e7, hypoxic_fraction=0.2, oer=2.5)), math.exp(-1e7 * both)


@relative(
    "voxel BED: region's curve, voxel's curve and scans", "relative difference", 1e-10, "exact where all fall alike"
)
def doors():
    dose = np.random.default_rng(1).uniform(1, 8, (6, 7, 8))
    fall, inside = LN2 / 50, {"kidney_left": np.ones(dose.shape, dtype=bool)}
    time = np.array([0.0, 4.0, 24.0, 72.0, 168.0])
    known = bed_of_kinetics(dose, inside, {"kidney_left": exposed([1.0], [50.0])}).bed_Gy
    own = bed_of_curves((dose * fall)[None], np.full((1, *dose.shape), fall), inside).bed_Gy
    scans = dose * fall * np.exp(-fall * time)[:, None, None, None]
    sampled = bed_of_scans(scans, time, "177Lu", inside, tail="last_two", rule="log").bed_Gy
    yield float(np.max(np.abs(own / known - 1))) + 1, 1.0
    yield float(np.max(np.abs(sampled / known - 1))) + 1, 1.0


@relative(
    "225Ac kidney: physical and weighted dose, BED with no G for alphas", "relative difference", 1e-9, "arithmetic"
)
def mixed():
    s = dose_coefficient_Gy_per_MBq_h("kidneys", "225Ac", 310.0)
    dose = MixedDose.of_tia(s, 20.0)
    low = 20 * (s.electron + s.photon)
    yield dose.physical_Gy, 20 * s.total
    yield dose.weighted_Gy(5.0), low + 100 * s.alpha
    yield dose.bed_Gy(tissue("kidneys"), 5.0, 0.05), low * (1 + 0.05 * low / RATIO) + 100 * s.alpha


@check(
    "dose/radiobiology/kidney BED of 4.5 Gy: 95 % interval of the tissue's values",
    unit="Gy",
    tolerance="holds 4.9009 and is wider than 5 %",
    source="ranges of dose/data/tissues.csv, 20 000 draws",
)
def interval():
    bed = exposed([4.5 * LN2 / 51.6], [51.6]).bed_Gy(tissue_draws("kidneys", 20_000, 1))
    low, high = (float(v) for v in np.percentile(bed, [2.5, 97.5]))
    return [low, high], low < 4.9009 < high and high / low > 1.05
