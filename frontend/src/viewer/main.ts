import * as core from "@cornerstonejs/core";
import * as tools from "@cornerstonejs/tools";
import * as loader from "@cornerstonejs/dicom-image-loader";
console.log(core.init, tools.init, loader.init);
