"""Writes phantom_saf.csv: `python -m dose.data.make_phantom_saf [--histories N] [--raw FOLDER] [--sexes male female]`.

Photon specific absorbed fractions of the stylised adults (`dose.phantom`, 4 mm voxels) by our own Monte Carlo. Each
run (sex, energy, source) is kept in the folder of raw results, so that a run that was cut off goes on.

- Organs: energy absorbed in the label over its mass. Where two regions were both sources, both directions estimate one
  number (reciprocity); they are averaged by the masses of their targets, which is by inverse variance for counts.
- Red marrow: the energy a bone site absorbs, times the marrow's share of its mass, times the ratio of the mass
  energy-absorption coefficients of marrow and site, summed over sites. The ratio is averaged over the photons'
  energies on their way: a walk in energy through soft tissue that leaves the body as often as the absorbed fraction
  of the whole body tells. Photo-electrons that trabeculae send into the marrow (King and Spiers) are left out: up to
  15 % more at 30 to 80 keV.
- Bone surfaces: the mean of what marrow and mineral receive, half on trabeculae and half in cortical bone.
"""

import argparse
import csv
import sys
import time
from pathlib import Path

import numpy as np

ENERGIES_MEV = (0.01, 0.015, 0.02, 0.03, 0.045, 0.065, 0.1, 0.15, 0.22, 0.35, 0.55, 0.9, 1.5, 3.0)
HISTORIES = 2**19
VOXEL_MM = 4.0
LANES_OF = lambda scale: scale(2048, 2**18, 2) if scale.here().lanes < 2**16 else scale.here()
COEFFICIENT_MEV = np.geomspace(0.005, 3.5, 200)


def energy_absorption_cm2_g(matter):
    """Mass energy-absorption coefficient on the grid `COEFFICIENT_MEV`: photo-electric, Compton transfer, pair."""
    from dose.montecarlo.attenuation import attenuation_cm2_g
    from dose.provenance import constant

    rest = constant("dose", "electron_rest_MeV")
    photo, compton, _, pair = attenuation_cm2_g(matter, COEFFICIENT_MEV)
    cosine = np.linspace(-1, 1, 2001)
    ratio = 1 / (1 + COEFFICIENT_MEV[:, None] / rest * (1 - cosine))
    weight = ratio**2 * (ratio + 1 / ratio - 1 + cosine**2)
    transfer = np.sum(weight * (1 - ratio), axis=1) / np.sum(weight, axis=1)
    return photo + compton * transfer + pair * np.maximum(0, 1 - 2 * rest / COEFFICIENT_MEV)


def walked(energy_MeV, escape, photons=20_000):
    """Energies before each event of photons in soft tissue, [event]; each flight leaves the body with `escape`."""
    from dose.montecarlo.attenuation import attenuation_cm2_g
    from dose.montecarlo.materials import material
    from dose.provenance import constant

    rng, rest = np.random.default_rng(7), constant("dose", "electron_rest_MeV")
    photo, compton, _, pair = attenuation_cm2_g(material("soft_tissue"), COEFFICIENT_MEV)
    scatters = compton / (photo + compton + pair)
    now, met = np.full(photons, energy_MeV), []
    while len(now):
        now = now[rng.random(len(now)) > escape]
        met.append(now)
        now = now[rng.random(len(now)) < np.interp(np.log(now), np.log(COEFFICIENT_MEV), scatters)]
        left = np.arange(len(now))
        after = np.empty_like(now)
        while len(left):
            cosine, old = rng.uniform(-1, 1, len(left)), now[left]
            ratio = 1 / (1 + old / rest * (1 - cosine))
            kept = rng.uniform(0, 2, len(left)) < ratio**2 * (ratio + 1 / ratio - 1 + cosine**2)
            after[left[kept]] = (old * ratio)[kept]
            left = left[~kept]
        now = after[after > COEFFICIENT_MEV[0]]
    return np.concatenate(met)


def kerma(energies_MeV, coefficient):
    """Energy that a gram of a tissue with this coefficient receives, of any scale common to all tissues."""
    from dose.montecarlo.attenuation import attenuation_cm2_g
    from dose.montecarlo.materials import material

    flights = attenuation_cm2_g(material("soft_tissue"), COEFFICIENT_MEV)[[0, 1, 3]].sum(axis=0)
    ratio = np.exp(np.interp(np.log(energies_MeV), np.log(COEFFICIENT_MEV), np.log(coefficient / flights)))
    return float(np.sum(energies_MeV * ratio))


def on_the_way(energy_MeV, absorbed):
    """Energies of a walk of which the share `absorbed` of the energy stays."""
    from dose.montecarlo.materials import material

    tissue = energy_absorption_cm2_g(material("soft_tissue"))
    low, high = 0.0, 0.95
    for _ in range(12):
        middle = (low + high) / 2
        stays = kerma(walked(energy_MeV, middle), tissue) / (20_000 * energy_MeV)
        low, high = (middle, high) if stays > absorbed else (low, middle)
    return walked(energy_MeV, (low + high) / 2)


def source_map(body, source):
    """Decays by voxel [z, y, x] of any scale."""
    from dose.phantom.skeleton import site_masses_g
    from dose.smatrix.saf import BONES, RED_MARROW, WHOLE_BODY

    if source == WHOLE_BODY:
        return body.density_g_cm3[body.labels] * (body.labels > 0)
    if source not in (RED_MARROW, *BONES):
        return body.mask(source).astype(float)
    weight = np.zeros(len(body.organs))
    for site, tissues in site_masses_g(body.sex).items():
        k = body.label(site)
        weight[k] = tissues[source] / np.count_nonzero(body.labels == k)
    return weight[body.labels]


def scene(body):
    """The body made ready for photons."""
    from dose.montecarlo import label_scene

    return label_scene(body.labels, (body.voxel_mm,) * 3, body.density_g_cm3, body.materials())


def run(ready, source, energy_MeV, histories, seed):
    """Share of the energy in each label and its sd [2, label]; few lanes, as a batch is small."""
    from dose.montecarlo import Scale

    return np.stack(ready.fractions(source, energy_MeV, histories=histories, seed=seed, scale=LANES_OF(Scale)))


def weights(body, energy_MeV, absorbed):
    """What each target gets per share of the energy in a label: 1/kg, [target, label], from masses and coefficients.

    `absorbed` is the share of the energy that stays in the body.
    """
    from dose.montecarlo.materials import material
    from dose.phantom.organs import tissue_material
    from dose.phantom.skeleton import site_masses_g
    from dose.smatrix.saf import BONE_SURFACE, RED_MARROW, WHOLE_BODY, reference_masses_g, targets

    mass_kg = {name: mass / 1e3 for name, mass in reference_masses_g(body.sex).items()}
    names, matter = targets(body.sex), body.materials()
    table = np.zeros((len(names), len(body.organs)))
    for i, name in enumerate(names):
        if name in body.names:
            table[i, body.label(name)] = 1 / mass_kg[name]
    table[names.index(WHOLE_BODY), 1:] = 1 / mass_kg[WHOLE_BODY]
    sites = site_masses_g(body.sex)
    met = on_the_way(energy_MeV, absorbed)
    absorbs = lambda what: kerma(met, energy_absorption_cm2_g(what))
    marrow, mineral = tissue_material("red_marrow"), material("cortical_bone")
    trabecular, cortical = (sum(t[f"{b}_bone"] for t in sites.values()) for b in ("trabecular", "cortical"))
    for site, tissues in sites.items():
        k = body.label(site)
        per_kg = 1e3 / sum(tissues.values()) / absorbs(matter[k])
        in_marrow, in_mineral = per_kg * absorbs(marrow), per_kg * absorbs(mineral)
        table[names.index(RED_MARROW), k] = in_marrow * tissues["red_marrow"] / 1e3 / mass_kg[RED_MARROW]
        surface = 0.5 * tissues["trabecular_bone"] / trabecular + 0.5 * tissues["cortical_bone"] / cortical
        table[names.index(BONE_SURFACE), k] = surface * (in_marrow + in_mineral) / 2
    return names, table


def assembled(body, energy_MeV, raw, sources):
    """SAF in 1/kg and its sd, [target, source], from raw results [source, 2, label], reciprocal pairs averaged."""
    inner = raw.get("whole_body", next(iter(raw.values())))
    names, table = weights(body, energy_MeV, float(inner[0][1:].sum()))
    per_kg = np.stack([table @ raw[s][0] for s in sources], axis=1)
    sd = np.stack([np.sqrt(table**2 @ raw[s][1] ** 2) for s in sources], axis=1)
    mass = {organ.name: organ.mass_g for organ in body.organs}
    single = [s for s in sources if s in mass]
    for a in single:
        for b in single:
            if a < b and a in names and b in names:
                here, there = (names.index(a), sources.index(b)), (names.index(b), sources.index(a))
                share = np.array([mass[a], mass[b]]) / (mass[a] + mass[b])
                mean = share @ [per_kg[here], per_kg[there]]
                spread = np.hypot(share[0] * sd[here], share[1] * sd[there])
                per_kg[here] = per_kg[there] = mean
                sd[here] = sd[there] = spread
            elif a in names and b not in names:  # contents: not a target, but a label of the other's run
                here = names.index(a), sources.index(b)
                back = raw[a][:, body.label(b)] * 1e3 / mass[b]
                share = np.array([mass[a], mass[b]]) / (mass[a] + mass[b])
                per_kg[here] = share @ [per_kg[here], back[0]]
                sd[here] = np.hypot(share[0] * sd[here], share[1] * back[1])
    return names, per_kg, sd


def rows(sex, energies, per_kg, sd, names, sources):
    """Lines of the table; arrays [energy, target, source]."""
    for j, source in enumerate(sources):
        for i, target in enumerate(names):
            value = per_kg[:, i, j]
            relative = np.divide(sd[:, i, j], value, out=np.zeros(len(energies)), where=value > 0)
            numbers = [f"{v:.4g}" if v > 0 else "" for v in value] + [f"{r:.2g}" if r > 0 else "" for r in relative]
            yield [sex, target, source, *numbers, "1/kg", "own_smatrix", "make_phantom_saf.py"]


def computed(body, ready, source, energy_MeV, k, arguments):
    """A raw result, from the folder if it is there."""
    path = arguments.raw / f"{body.sex}_{energy_MeV:g}_{source}_{arguments.histories}.npy"
    if not path.is_file():
        np.save(path, run(ready, source_map(body, source), energy_MeV, arguments.histories, seed=k))
    return np.load(path, allow_pickle=False)


def main(arguments):
    from dose.phantom import phantom
    from dose.smatrix.saf import sources as sources_of

    arguments.raw.mkdir(parents=True, exist_ok=True)
    lines, begin = [], time.time()
    for sex in arguments.sexes:
        body = phantom(sex, VOXEL_MM)
        ready = scene(body)
        sources = [s for s in sources_of(sex) if not arguments.sources or s in arguments.sources]
        found = []
        for k, energy in enumerate(arguments.energies):
            raw = {s: computed(body, ready, s, energy, 1000 * k + j, arguments) for j, s in enumerate(sources)}
            found.append(assembled(body, energy, raw, sources))
            print(f"{sex} {energy:g} MeV after {time.time() - begin:.0f} s", file=sys.stderr)
        names = found[0][0]
        lines += rows(sex, arguments.energies, np.array([f[1] for f in found]), np.array([f[2] for f in found]),
                      names, sources)  # fmt: skip
    head = [*(f"{word}_{energy:g}" for word in ("saf", "sd") for energy in arguments.energies)]
    with arguments.out.open("w", encoding="utf-8", newline="") as file:
        file.write(f"# written by dose/data/make_phantom_saf.py, {arguments.histories} photons a source and energy: "
                   "share of the energy per kg of target by energy in MeV, then relative sd\n")  # fmt: skip
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["sex", "target", "source", *head, "unit", "source_id", "locator"])
        table.writerows(lines)


if __name__ == "__main__":
    from twin._jax import configure

    configure()
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--histories", type=int, default=HISTORIES)
    options.add_argument("--raw", type=Path, default=Path("phantom_saf_raw"))
    options.add_argument("--out", type=Path, default=Path(__file__).with_name("phantom_saf.csv"))
    options.add_argument("--sexes", nargs="+", default=["male", "female"])
    options.add_argument("--sources", nargs="*", default=[], help="only these: for a trial")
    options.add_argument("--energies", nargs="+", type=float, default=list(ENERGIES_MEV))
    main(options.parse_args())
