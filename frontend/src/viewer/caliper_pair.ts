// Pairs of lines of the calipers.

// Pairs lines: the second on the same image completes a size; one on another image begins anew.
export class CaliperPair<Line extends { imageId: string }> {
  private first: Line | null = null;

  add(line: Line): [Line, Line] | null {
    const { first } = this;
    const isComplete = first?.imageId === line.imageId;
    this.first = isComplete ? null : line;
    return first && isComplete ? [first, line] : null;
  }

  clear(): void {
    this.first = null;
  }
}
