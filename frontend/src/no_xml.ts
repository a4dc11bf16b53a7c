// Stands for xmlbuilder2, which only vtk.js' writers of mesh files need.
export function create(): never {
  throw new Error("XML is not written here.");
}
