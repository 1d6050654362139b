"""The planner page (docs/planner.md); `theratwin app` serves it. Cells connect controls with answers, and no more."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="full", app_title="theratwin planner", css_file="planner.css")


@app.cell
def notice():
    import marimo as mo

    mo.Html(
        '<p class="notice" role="note"><strong>Research software, not a medical device. '
        "Not for diagnosis or treatment decisions.</strong></p>"
    )
    return (mo,)


@app.cell
def opening(mo):
    with mo.status.spinner(title="Opening the twin", subtitle="the first answer is being prepared"):
        from twin.app import controls, drawing, export, panels, settings, tiles, view
        from twin.app.desk import page_desk

        drawing.quiet_toolbar()
        desk = page_desk()
    return controls, desk, export, panels, settings, tiles, view


@app.cell
def patient(desk, mo, view):
    mo.Html(view.patient_line(desk))
    return


@app.cell
def warnings(desk, mo, shown, view):
    mo.Html(view.warnings_box(desk, shown))
    return


@app.cell
def status(asked, mo, shown, tiles):
    mo.Html(tiles.status(shown, asked.tail))
    return


@app.cell
def memory(desk, mo, settings):
    get_start, set_start = mo.state(settings.first_start(desk))
    get_moved, set_moved = mo.state(False)
    get_optimised, set_optimised = mo.state(None)
    get_traded, set_traded = mo.state(None)
    get_exported, set_exported = mo.state(None)
    now = settings.Now()
    return (
        get_exported,
        get_moved,
        get_optimised,
        get_start,
        get_traded,
        now,
        set_exported,
        set_moved,
        set_optimised,
        set_start,
        set_traded,
    )


@app.cell
def schedule_controls(controls, desk):
    cycles = controls.cycles(desk)
    interval = controls.interval(desk)
    amount = controls.amount(desk)
    trend = controls.trend(desk)
    return amount, cycles, interval, trend


@app.cell
def every_control(controls, desk, get_start, set_moved):
    every = controls.every_activity(desk, get_start(), lambda _: set_moved(True))
    return (every,)


@app.cell
def each_control(controls, cycles, desk, every, get_moved, get_start, settings):
    each = controls.each_activity(desk, settings.places(get_start(), every.value, cycles.value, get_moved()))
    return (each,)


@app.cell
def limit_controls(controls, desk):
    kidney = controls.kidney_limit(desk)
    marrow = controls.marrow(desk)
    probability = controls.probability()
    return kidney, marrow, probability


@app.cell
def own_control(controls, kidney):
    own = controls.own_limit(kidney.value)
    return (own,)


@app.cell
def action_controls(controls, desk):
    objective = controls.objective(desk)
    optimise, trade, export_now = controls.buttons(desk)
    return export_now, objective, optimise, trade


@app.cell
def target_control(controls, objective):
    target = controls.target(objective.value)
    return (target,)


@app.cell
def panel(
    amount,
    controls,
    cycles,
    each,
    every,
    export_now,
    interval,
    kidney,
    marrow,
    objective,
    optimise,
    own,
    probability,
    target,
    trade,
    trend,
):
    controls.panel(
        schedule=(cycles, every, each, interval, amount, trend),
        limits=(kidney, own, marrow, probability),
        optimising=(objective, target),
        buttons=(optimise, trade, export_now),
    )
    return


@app.cell
def wanted(amount, desk, each, interval, kidney, marrow, now, own, probability, settings, trend):
    asked = settings.asked(
        desk,
        activities=each.value,
        interval_weeks=interval.value,
        amount_nmol=amount.value,
        limits=settings.limits_of(desk, kidney.value, own.value, marrow.value),
        tail=probability.value,
        trend_percent=trend.value,
    )
    now.asked, now.shown = asked, None
    return (asked,)


@app.cell
def answering(asked, desk, now, panels, settings):
    shown, beside = panels.attempt(
        "Surfaces over ligand amounts", settings.answers, desk, asked, is_slow=settings.is_slow(desk, asked)
    )
    now.shown = shown
    return beside, shown


@app.cell
def optimising(
    desk, export, mo, now, objective, optimise, panels, set_moved, set_optimised, set_start, settings, target
):
    mo.stop(not optimise.value)
    made = panels.attempt("Optimising", export.optimise, desk, now.asked, objective.value, target.value)
    set_optimised(made)
    if made.plan.administrations:
        set_moved(False)
        set_start(settings.start_of(desk, made.plan.administrations, len(now.asked.activities_MBq)))
    return


@app.cell
def optimised_words(asked, desk, export, get_optimised, mo, shown, view):
    mo.stop(get_optimised() is None)
    mo.Html(view.optimised_box(desk, get_optimised(), export.stands(get_optimised(), asked, shown)))
    return


@app.cell
def exporting(desk, export, export_now, get_optimised, get_traded, mo, now, panels, set_exported):
    mo.stop(not export_now.value or now.shown is None)
    chosen = export.plan_shown(now.asked, now.shown, get_optimised())
    set_exported(panels.attempt("Writing the report", export.export, desk, now.asked, chosen, get_traded()))
    return


@app.cell
def exported_words(get_exported, mo, panels):
    mo.stop(get_exported() is None)
    panels.exported(get_exported())
    return


@app.cell
def numbers(asked, beside, desk, mo, shown, tiles):
    mo.Html(tiles.tiles(desk, shown, beside, asked.tail))
    return


@app.cell
def figure_controls(controls, desk):
    region = controls.region(desk)
    span = controls.span(desk)
    quantity = controls.quantity()
    illustrate = controls.illustrate()
    return illustrate, quantity, region, span


@app.cell
def activity_figure(desk, panels, region, shown, span):
    panels.activity(desk, shown, region, span)
    return


@app.cell
def fan_figure(asked, beside, panels, shown):
    panels.fan(shown, beside, asked.limits)
    return


@app.cell
def index_figure(beside, desk, panels, shown):
    panels.index(desk, shown, beside)
    return


@app.cell
def trading(desk, export, mo, now, panels, set_traded, trade):
    mo.stop(not trade.value)
    set_traded(panels.attempt("Pareto front", export.trade, desk, now.asked))
    return


@app.cell
def front_figure(asked, get_traded, panels, shown):
    panels.front(get_traded(), asked, shown)
    return


@app.cell
def cycles_table(desk, mo, quantity, shown, tiles):
    mo.vstack([quantity, mo.Html(tiles.cycles_table(desk, shown, quantity.value))])
    return


@app.cell
def outcome_switch(illustrate, mo):
    mo.vstack([illustrate])
    return


@app.cell
def outcome_figure(desk, illustrate, mo, panels, shown):
    mo.stop(not illustrate.value)
    panels.illustration(desk, shown)
    return


if __name__ == "__main__":
    app.run()
