// Generated from /openapi.json by `make types`; change the models in webapp/api instead.

/** Study stored from a zip's CT images; `already_stored` of them had been stored before. */
export interface AcceptedStudy {
  study_instance_uid: string;
  url: string;
  accepted: number;
  already_stored: number;
  left_out: LeftOut[];
  message: string;
}

/** The requested analyses. */
export interface Analyses {
  analyses: Analysis[];
}

/** One analysis of one series. */
export interface Analysis {
  id: string;
  series_instance_uid: string;
  model: Model;
  status: AnalysisStatus | "not_chosen";
  reasons: Reason[];
  caveats: Reason[];
  overruled: Reason[];
  requested_at: string;
  started_at: string | null;
  finished_at: string | null;
}

/** Status of one analysis of one series by one model. */
export type AnalysisStatus = "queued" | "running" | "current" | "superseded" | "failed" | "quarantined";

/** A reader's verdict; a `size` overrides the model's. */
export interface Assessment {
  verdict: Verdict;
  reason: string;
  comment: string;
  reader: string;
  reader_name: string;
  created_at: string;
  size: ReaderSize | null;
}

/** Reader that a study is assigned to; it hinders no one else from reading. */
export interface Assignment {
  study_instance_uid: string;
  assigned_to: string | null;
}

/**
 * Count of equal associations of one peer; AE titles are as sent by the peer.
 *
 * `setting` is the one that would allow a refused association, empty if none.
 */
export interface Association {
  peer_address: string;
  calling_ae_title: string;
  called_ae_title: string;
  result: "accepted" | "rejected" | "aborted";
  reason: string;
  setting: string;
  count: number;
  first_at: string;
  last_at: string;
}

/** Long and short axis of a finding, each from one end to the other, on one slice of its mask. */
export interface Axes {
  slice_index: number;
  long: [[number, number], [number, number]];
  short: [[number, number], [number, number]];
}

/** Comparison of the latest shadow model; null if there is none. */
export interface Candidate {
  report: CandidateReport | null;
}

/** Comparison of a shadow model with the live one. */
export interface CandidateReport {
  live: Model | null;
  candidate: Model;
  series_count: number;
  left_out: Record<string, number>;
  comparison: Comparison;
  judged_by: "pathology" | "verdicts";
  matched_within_mm: number;
  decision_at: number;
}

/** Comparison on findings with ground truth; metrics are null if there are too few. */
export interface Comparison {
  conclusion: "too_few" | "worse" | "not_worse" | "better";
  reason: string;
  n: number;
  positives: number;
  patients: number;
  auc: Figure | null;
  decisions: Decisions | null;
  brier: Figure | null;
  calibration_error: Figure | null;
}

/** The series marked as complete. */
export interface Completed {
  series: Series[];
}

/** Number of affected records. */
export interface Count {
  count: number;
}

/** Numbers of decisions where only one model was right, and p of McNemar's exact test. */
export interface Decisions {
  only_first_right: number;
  only_second_right: number;
  p: number | null;
}

/** List of deliveries. */
export interface Deliveries {
  items: Delivery[];
}

/** Delivery of one result object to one destination. */
export interface Delivery {
  id: string;
  analysis_id: string;
  sop_instance_uid: string;
  kind: string;
  destination: string;
  status: DeliveryStatus;
  reason: string;
  updated_at: string;
}

/** Status of the delivery of one result object to one destination. */
export type DeliveryStatus = "pending" | "sent" | "committed" | "failed" | "declined";

/** A destination of results, with the number of deliveries by status. */
export interface Destination {
  ae_title: string;
  address: string;
  note: string;
  deliveries: Record<string, number>;
  last_sent_at: string | null;
  oldest_pending_at: string | null;
}

/** Error response. */
export interface Error {
  error: ErrorDetail;
}

/** Error code for programs, message for people, and the reference to quote to support. */
export interface ErrorDetail {
  code: string;
  message: string;
  reference: string;
}

/** A fault of this node; the study is that of a damaged file. */
export interface Fault {
  code: "damaged_file" | "damaged_database" | "clock";
  count: number;
  since: string;
  last_at: string;
  study_instance_uid: string | null;
}

/** One metric of the live model (first) and the candidate (second), with 95 % intervals. */
export interface Figure {
  first: number | null;
  first_interval: [number | null, number | null];
  second: number | null;
  second_interval: [number | null, number | null];
  difference: number | null;
  difference_interval: [number | null, number | null];
  p: number | null;
}

/**
 * A finding with model output and verdict. Row and column are 0-based stored pixels.
 *
 * Probabilities are point estimates, for sorting and metrics. Readers are shown `displayed` and
 * `displayed_nodule`, bounded by calibration cases of a similar score; `displayed_basis` states how.
 */
export interface Finding {
  id: string;
  series_instance_uid: string;
  sop_instance_uid: string;
  frame_number: number;
  row: number;
  column: number;
  position_mm: [number, number, number];
  frame_of_reference_uid: string | null;
  diameter_mm: number | null;
  nodule_probability: number | null;
  malignancy_probability: number | null;
  interval: [number, number] | null;
  displayed: string | null;
  displayed_basis: string | null;
  displayed_nodule: string | null;
  prediction_set: string[];
  reasons: Reason[];
  attributes: Record<string, unknown>;
  origin: FindingOrigin;
  model: Model;
  verdict: Verdict | null;
  assessment: Assessment | null;
  created_at: string;
  created_by: string;
  created_by_name: string;
}

/** Source of a finding. */
export type FindingOrigin = "model" | "reader";

/** Quarantine of a scanner: reason, actor and time. */
export interface Hold {
  reason: string;
  held_by: string;
  held_at: string;
}

/** Reason for a scanner's quarantine. */
export interface HoldScanner {
  reason: string;
}

/** Files of one kind in a zip that are not CT images. */
export interface LeftOut {
  kind: string;
  count: number;
  text: string;
}

/** Liveness of the process. */
export interface Liveness {
  alive: boolean;
}

/**
 * Measured voxels of a finding, in a box that begins at a row and column (0-based) of its slices.
 *
 * `runs` are lengths by slice, row and column, alternately outside and inside; the first, outside, may be 0.
 */
export interface Mask {
  finding_id: string;
  slices: MaskSlice[];
  row: number;
  column: number;
  rows: number;
  columns: number;
  runs: number[];
  axes: Axes | null;
}

/** A frame that a slice of a mask lies on. */
export interface MaskSlice {
  sop_instance_uid: string;
  frame_number: number;
}

/** The masks of a study's findings; a finding that was not measured has none. */
export interface Masks {
  masks: Mask[];
}

/** Identity of a model. */
export interface Model {
  name: string;
  version: string;
  sha256: string;
}

/** Status of the nodule model, of all models in `models`, and the server's counters. */
export interface ModelStatus {
  task?: string;
  name?: string;
  version?: string;
  sha256?: string;
  architecture?: string;
  device?: string;
  engine?: string;
  parameter_count?: number;
  input_shape?: number[];
  classes?: string[];
  temperature?: number;
  temperatures?: Record<string, number>;
  calibration?: string;
  metrics?: Record<string, unknown>;
  training_data?: Record<string, unknown>;
  intended_use?: string;
  limits?: string[];
  models?: Record<string, unknown>[];
  error?: string;
  uptime_s: number;
  predictions_served: number;
}

/** Series to analyse again, also one that was not chosen; all of the study by default. */
export interface NewAnalysis {
  series_instance_uid?: string;
}

/** A reader's verdict on a finding; without `size` the one that this reader measured before goes on. */
export interface NewAssessment {
  verdict: Verdict;
  reason?: string;
  comment?: string;
  size?: NewSize | null;
}

/** Assignment to set: to the caller, or none. */
export interface NewAssignment {
  assigned: boolean;
}

/** A finding to mark. */
export interface NewFinding {
  series_instance_uid: string;
  sop_instance_uid: string;
  row: number;
  column: number;
  frame_number?: number;
}

/** Refusals to overrule, and the reason. */
export interface NewOverrule {
  reason: string;
  overrule: ("derived" | "lossy" | "kernel")[];
}

/** An event of a reading, with its time in seconds since the first image was on the screen. */
export interface NewReading {
  event: ReadingEvent;
  model_hidden: boolean;
  seconds: number;
}

/** Review status to set. */
export interface NewReview {
  reviewed: boolean;
}

/** A filter to save; `query` holds parameters of `GET /api/v1/worklist`. */
export interface NewSavedFilter {
  query: Record<string, string>;
  name: string;
}

/** Two axes that a reader measured on one frame, each from one end to the other (row, column). */
export interface NewSize {
  sop_instance_uid: string;
  frame_number?: number;
  axes: [[[number, number], [number, number]], [[number, number], [number, number]]];
}

/** A peer node. */
export interface Node {
  ae_title: string;
  address: string;
  note: string;
}

/** Another study of the same patient. */
export interface OtherStudy {
  study_instance_uid: string;
  study_date: string;
  study_description: string;
  instance_count: number;
}

/** Administration overview. */
export interface Overview {
  peers: Node[];
  destinations: Destination[];
  dead_letters: Delivery[];
  dead_letter_count: number;
  result_failures: ResultFailure[];
  result_failure_count: number;
  jobs: Analysis[];
  prior_shortfalls: PriorShortfall[];
  associations: Association[];
  faults: Fault[];
}

/** Patient attributes as received. */
export interface Patient {
  id: string;
  name: string;
  birth_date: string;
  sex: string;
}

/** Prediction for an upload. `confidence` holds point estimates; `displayed` is what users are shown. */
export interface Prediction {
  id: string;
  class: string | null;
  confidence: Record<string, number>;
  confidence_percent: Record<string, number>;
  displayed: string | null;
  displayed_basis: string | null;
  interval: [number, number] | null;
  prediction_set: string[];
  input: UploadInput;
  model: UsedModel;
  patient: UploadPatient;
  explanation_url: string | null;
  unvalidated?: RawAnswer;
}

/**
 * Missing priors of a study; counts are null for a search, the next attempt is null after the last one.
 *
 * A complete prior (`done`) is included if the PACS sent instances of other studies too.
 */
export interface PriorShortfall {
  study_instance_uid: string;
  pacs: string;
  status: PriorStatus;
  expected_count: number | null;
  received_count: number | null;
  attempts: number;
  reason: string;
  updated_at: string;
  next_attempt_at: string | null;
}

/** Status of a search for, or a retrieval of, priors. */
export type PriorStatus = "pending" | "done" | "incomplete" | "failed";

/** Unvalidated output for input outside the validated domain; to be shown only with a warning. */
export interface RawAnswer {
  class: string | null;
  confidence: Record<string, number>;
}

/** Long and short axis that a reader measured on one frame, each from one end to the other (row, column). */
export interface ReaderSize {
  sop_instance_uid: string;
  frame_number: number;
  long_axis: [[number, number], [number, number]];
  short_axis: [[number, number], [number, number]];
  long_mm: number;
  short_mm: number;
  mean_mm: number;
}

/** Readiness, with the single checks for roles that may observe the service. */
export interface Readiness {
  ready: boolean;
  checks?: Record<string, string>;
}

/** An event of a reading. */
export type ReadingEvent = "opened" | "revealed" | "closed";

/** Reason for a refusal or abstention, or a caveat. */
export interface Reason {
  code: string;
  text: string;
}

/** Confirmation of a record. */
export interface Recorded {
  recorded: true;
}

/** Reason for a scanner's release, and whether to re-analyse its quarantined series. */
export interface ReleaseScanner {
  reason: string;
  rerun?: boolean;
}

/** Dead letters to resend: those to one destination, or all. */
export interface Resend {
  destination?: string;
}

/** Failure to create result objects of an analysis; the next attempt is null after the last one. */
export interface ResultFailure {
  analysis_id: string;
  study_instance_uid: string;
  purpose: string;
  reason: string;
  attempts: number;
  updated_at: string;
  next_attempt_at: string | null;
}

/** Failures whose retry was scheduled. */
export interface ResultFailures {
  items: ResultFailure[];
}

/** Review status; later images and results reopen a study. */
export interface Review {
  study_instance_uid: string;
  reviewed: boolean;
}

/** A saved filter, with the URL of the filtered worklist. */
export interface SavedFilter {
  name: string;
  query: Record<string, string>;
  id: string;
  url: string;
}

/** The caller's saved filters, oldest first. */
export interface SavedFilters {
  filters: SavedFilter[];
}

/** A scanner configuration (manufacturer and model, kernel, slice spacing) with its quarantine. */
export interface Scanner {
  key: string;
  model: string;
  kernel: string;
  slice_spacing: string;
  series_count: number;
  hold: Hold | null;
  quarantined_count: number;
}

/** Scanners of recent series, and those in quarantine. */
export interface Scanners {
  items: Scanner[];
}

/** One series of a study. */
export interface Series {
  series_instance_uid: string;
  series_number: number | null;
  series_description: string;
  modality: string;
  instance_count: number;
  state: StudyState;
  reasons: Reason[];
}

/** One displayable slice; its frame is at `/dicom-web/`. */
export interface Slice {
  sop_instance_uid: string;
  frame_number: number;
  instance_number: number | null;
  position_mm: [number, number, number] | null;
  rows: number;
  columns: number;
  row_spacing_mm: number | null;
  column_spacing_mm: number | null;
  orientation: [number, number, number, number, number, number] | null;
}

/** The displayable slices of one series, in anatomical order. */
export interface Slices {
  series_instance_uid: string;
  slices: Slice[];
}

/**
 * A study with its parts; `analyses` are finished ones, `pending_analyses` the others.
 *
 * `others` are the patient's other studies, latest first.
 */
export interface Study {
  study_instance_uid: string;
  patient: Patient;
  accession_number: string;
  study_date: string;
  study_description: string;
  state: StudyState;
  reasons: Reason[];
  series_count: number;
  instance_count: number;
  finding_count: number | null;
  malignancy_probability: number | null;
  interval: [number, number] | null;
  displayed: string | null;
  received_at: string;
  analysed_at: string | null;
  waiting_s: number;
  reviewed_at: string | null;
  reviewed_by: string | null;
  caveats: Reason[];
  result_failures: Reason[];
  has_prior: boolean;
  assigned_to: string | null;
  readers: string[];
  is_stat: boolean;
  top_diameter_mm: number | null;
  overrulable: ("derived" | "lossy" | "kernel")[];
  series: Series[];
  analyses: Analysis[];
  pending_analyses: Analysis[];
  findings: Finding[];
  deliveries: Delivery[];
  others: OtherStudy[];
}

/** Processing state of a study or series. */
export type StudyState = "receiving" | "queued" | "analysing" | "analysed" | "not_analysed" | "failed";

/** One file, in either of two fields, and optional details. */
export interface UploadForm {
  image?: string;
  file?: string;
  row?: number;
  column?: number;
  age?: number;
  sex?: "female" | "male" | "other";
  smoking_pack_years?: number;
  family_history?: "yes" | "no";
  symptoms?: string;
}

/** Detected kind of the upload, and whether the model is validated for such input. */
export interface UploadInput {
  kind: "slice" | "nodule" | "dicom";
  in_domain: boolean;
  reasons: string[];
}

/** Patient details provided with an upload. */
export interface UploadPatient {
  age?: number;
  sex?: string;
  smoking_pack_years?: number;
  family_history?: boolean;
  symptoms?: string;
}

/** Identity of the model, and the temperature that its logits were divided by. */
export interface UsedModel {
  name: string;
  version: string;
  sha256: string;
  temperature: number;
}

/** A reader's verdict on a finding. */
export type Verdict = "accept" | "reject" | "unsure";

/** One page of the worklist; `next` is the cursor of the next page. */
export interface Worklist {
  items: WorklistItem[];
  next: string | null;
}

/** One study on the worklist; what the model says is null for a blinded reader. */
export interface WorklistItem {
  study_instance_uid: string;
  patient: Patient;
  accession_number: string;
  study_date: string;
  study_description: string;
  state: StudyState;
  reasons: Reason[];
  series_count: number;
  instance_count: number;
  finding_count: number | null;
  malignancy_probability: number | null;
  interval: [number, number] | null;
  displayed: string | null;
  received_at: string;
  analysed_at: string | null;
  waiting_s: number;
  reviewed_at: string | null;
  reviewed_by: string | null;
  caveats: Reason[];
  result_failures: Reason[];
  has_prior: boolean;
  assigned_to: string | null;
  readers: string[];
  is_stat: boolean;
  top_diameter_mm: number | null;
}

/** Order of the worklist. */
export type WorklistOrder =
  | "newest"
  | "oldest"
  | "priority"
  | "patient"
  | "patient_desc"
  | "study_date"
  | "study_date_desc";
