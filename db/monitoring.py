"""What analyses keep of how their series looked, by scanner: for watching whether that changes."""

from __future__ import annotations

from statistics import median

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.scanners import Scanner, scanner_of
from db.tables import AnalysisRow, FindingRow


def summaries_by_scanner(session: Session) -> dict[Scanner, list[dict[str, object]]]:
    """List the summaries of each scanner's series, oldest first; a series that was analysed again counts once."""
    nodules: dict[str, list[float]] = {}
    for analysis_id, diameter_mm in session.execute(select(FindingRow.analysis_id, FindingRow.diameter_mm)):
        if analysis_id is not None and diameter_mm is not None:
            nodules.setdefault(analysis_id, []).append(diameter_mm)
    rows = select(AnalysisRow.id, AnalysisRow.series_id, AnalysisRow.measures).where(
        AnalysisRow.finished_at.is_not(None)
    )
    groups: dict[Scanner, dict[str, dict[str, object]]] = {}
    for analysis_id, series_id, measures in session.execute(rows.order_by(AnalysisRow.finished_at, AnalysisRow.id)):
        summary = measures.get("summary")
        if isinstance(summary, dict):
            size = median(nodules[analysis_id]) if analysis_id in nodules else None
            of_group = groups.setdefault(scanner_of(measures), {})
            of_group.setdefault(series_id, {**summary, "nodule_mm": size})
    return {group: list(series.values()) for group, series in groups.items()}
